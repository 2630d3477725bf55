//! Files of relations, as the file system knows them: their size needs no lock.

/// How large all segments of a fork are, by its path in the data folder; 0 where there is none.
pub fn bytes(path: &str) -> i64 {
    // The data folder is where every server process runs.
    let size = |path: &str| std::fs::metadata(path).map(|file| file.len()).ok();
    let mut total = 0;
    let mut next = path.to_owned();
    let mut segment = 0;
    while let Some(bytes) = size(&next) {
        total += bytes;
        segment += 1;
        next = format!("{path}.{segment}");
    }
    i64::try_from(total).unwrap_or(i64::MAX)
}
