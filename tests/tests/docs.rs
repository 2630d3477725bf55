//! Every SQL block of the documentation runs, in order, and answers what the text beside it says.

use cluster_tests::{Cluster, project};

#[derive(Debug)]
struct Block {
    /// Of the opening fence, counted from one.
    line: usize,
    sql: String,
    /// The text block right after, if there is one.
    expected: Option<String>,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = markdown.lines().enumerate();
    let mut follows_sql = false;
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            follows_sql = follows_sql && line.trim().is_empty();
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        match (language, blocks.last_mut()) {
            ("sql", _) => blocks.push(Block {
                line: number + 1,
                sql: body.join("\n"),
                expected: None,
            }),
            ("text", Some(block)) if follows_sql => block.expected = Some(body.join("\n")),
            _ => {}
        }
        follows_sql = language == "sql";
    }
    blocks
}

/// One psql for all blocks of a page, so that SET and the like last; a line of its own before each tells them apart.
fn script(blocks: &[Block]) -> String {
    blocks
        .iter()
        .map(|block| format!("\\echo {}\n{}\n", mark(block), block.sql))
        .collect()
}

fn mark(block: &Block) -> String {
    format!("=== block at line {} ===", block.line)
}

fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(project::path("docs"))
        .into_iter()
        .flatten()
        .flatten();
    let names = docs
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".md"));
    let mut pages: Vec<String> = names.map(|name| format!("docs/{name}")).collect();
    pages.sort();
    pages.insert(0, "README.md".to_owned());
    pages
}

#[test]
fn every_sql_block_works_as_written() {
    // As a reader has it after following the instructions: preloaded. Not shared: pages may change settings.
    let cluster = Cluster::builder().preload().start();
    for (number, page) in pages().iter().enumerate() {
        let blocks = blocks(&project::read(page));
        let database = cluster.create_database(&format!("page_{number}"));
        let output = database.psql(&script(&blocks));
        let reached = blocks.iter().rfind(|block| output.stdout.contains(&mark(block)));
        assert!(
            output.ok,
            "{page}, block at line {:?}:\n{}",
            reached.map(|block| block.line),
            output.stderr
        );
        for (n, block) in blocks.iter().enumerate() {
            let Some(expected) = &block.expected else { continue };
            let after = output
                .stdout
                .split(&format!("{}\n", mark(block)))
                .nth(1)
                .unwrap_or_default();
            let answer = match blocks.get(n + 1) {
                Some(next) => after.split(&mark(next)).next().unwrap_or_default(),
                None => after,
            };
            assert_eq!(
                trimmed(answer),
                trimmed(expected),
                "{page}, block at line {}",
                block.line
            );
        }
    }
}

/// Spaces at the end of lines are not seen by a reader.
fn trimmed(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_readme_has_a_quick_start() {
    let readme = project::read("README.md");
    let sql: String = blocks(&readme).iter().map(|block| block.sql.as_str()).collect();
    for part in [
        "CREATE EXTENSION pg_telemetry",
        "COPY",
        "stage_flush()",
        "worker_status",
        "DROP EXTENSION",
    ] {
        assert!(sql.contains(part), "no SQL block of README.md shows {part}");
    }
}

#[test]
fn blocks_and_answers_are_told_apart() {
    let page = "```sql\nSELECT 1;\n```\n\n```text\n one\n```\n```sql\nSELECT 2;\n```\nprose\n```text\nno answer\n```\n\
                ```sh\nSELECT 3;\n```\n";
    let blocks = blocks(page);
    assert_eq!(blocks.len(), 2, "{blocks:?}");
    assert_eq!((blocks[0].line, blocks[0].expected.as_deref()), (1, Some(" one")));
    assert_eq!(
        (blocks[1].sql.as_str(), blocks[1].expected.as_deref()),
        ("SELECT 2;", None)
    );
}
