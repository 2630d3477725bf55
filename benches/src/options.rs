//! What the environment says about a run. `make bench` hands it on.

/// How many rounds count.
const ROUNDS: &str = "BENCH_ROUNDS";
/// How long the sustained cases last, in seconds.
const SECONDS: &str = "BENCH_SECONDS";
/// Waits that are emulated otherwise are real ones.
const LONG: &str = "BENCH_LONG";

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub rounds: usize,
    pub seconds: u64,
    pub long: bool,
}

impl Options {
    pub fn from_environment() -> Result<Options, String> {
        Options::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Options, String> {
        let number = |name: &str, default: u64| match variable(name).filter(|text| !text.is_empty()) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(format!("{name} is a whole number from 1, not {text:?}")),
            },
        };
        Ok(Options {
            rounds: number(ROUNDS, 5)? as usize,
            seconds: number(SECONDS, 60)?,
            long: variable(LONG).is_some_and(|text| !["", "0"].contains(&text.as_str())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Options, String> {
        Options::read(|name| {
            let found = given.iter().find(|(given, _)| *given == name);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let options = read(&[(LONG, "0"), (ROUNDS, "")]).expect("defaults");
        assert_eq!((options.rounds, options.seconds, options.long), (5, 60, false));
        let options = read(&[(LONG, "1"), (ROUNDS, "7"), (SECONDS, "3")]).expect("numbers");
        assert_eq!((options.rounds, options.seconds, options.long), (7, 3, true));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["0", "-1", "many"] {
            let message = read(&[(SECONDS, text)]).expect_err("no number");
            assert!(message.contains(SECONDS) && message.contains(text), "{message}");
        }
    }
}
