//! Names that look like another one, for whoever mistyped it. Pure.

/// How many are shown.
const MOST: usize = 3;

/// The names that are nearest, if any is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    // One letter in three may be wrong.
    let allowed = name.chars().count() / 3;
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|candidate| {
            let distance = distance(name, candidate);
            (distance <= allowed).then_some((distance, candidate))
        })
        .collect();
    near.sort();
    near.into_iter()
        .take(MOST)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Letters to change, add or leave out, capitals not counted.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (left, right, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("speed", "Speed", 0),
            ("speed", "sped", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn the_nearest_comes_first_and_others_are_left_out() {
        let known = ["temperature", "temperatures", "battery", "temporal"];
        assert_eq!(nearest("tempertaure", known), ["temperature", "temperatures"]);
        assert!(nearest("x", known).is_empty());
    }
}
