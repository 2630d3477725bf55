//! The rules: what is looked at, from when on it is bad, and what to do then. In code and not in a table, so that they come with the
//! library; rows of `alert_rules` override them field by field. What each means at length is in docs/alerts.md.

mod flow;
mod partitions;
mod replication;
mod server;
mod workers;

use super::machine::{Time, Tuning, Worse};

/// Where a rule has something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Anywhere,
    Primary,
    Standby,
    /// On a primary with workers, be it that a scheduler calls them: elsewhere nobody counts, or nobody is expected to work.
    Workers,
}

/// How a rule looks. A query gives (object text, value double precision, detail text, statement text), the worst first; an object
/// whose value is NULL is there and cannot be judged. `@extschema@` stands for our schema.
#[derive(Clone, Copy)]
pub enum Probe {
    /// A query that runs as pg_monitor: statistics of all, and our views.
    Monitor(&'static str),
    /// A query that runs as telemetry_owner: our tables.
    Owner(&'static str),
    Code(Code),
}

/// What no query says; see `probes.rs`.
#[derive(Clone, Copy)]
pub enum Code {
    Nothing,
    Rejects,
    Coverage,
    Gaps,
    Disks,
    Clock,
}

#[derive(Clone, Copy)]
pub struct Rule {
    pub name: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    pub why: &'static str,
    pub unit: &'static str,
    pub worse: Worse,
    pub warn: Option<f64>,
    pub critical: Option<f64>,
    pub clear: f64,
    /// Seconds for which it is so before it fires, and for which it is over before that is said.
    pub lasts: u32,
    pub keep: u32,
    /// How often the keeper looks, in seconds. What reads the catalog entries of thousands of partitions does so less often.
    pub every: u32,
    pub place: Where,
    /// Alerts that explain this one: while one of them fires that is as severe, this one does not.
    pub causes: &'static [&'static str],
    pub remedy: &'static str,
    /// A statement that shows more, or puts it right where the object has none of its own.
    pub run: &'static str,
    pub probe: Probe,
}

/// How often most of them are looked at, in seconds.
pub const USUAL_INTERVAL: u32 = 10;

/// What most of them have in common.
const RULE: Rule = Rule {
    name: "",
    title: "",
    why: "",
    unit: "",
    worse: Worse::Higher,
    warn: None,
    critical: None,
    clear: 0.0,
    lasts: 30,
    keep: 60,
    every: USUAL_INTERVAL,
    place: Where::Anywhere,
    causes: &[],
    remedy: "",
    run: "",
    probe: Probe::Code(Code::Nothing),
};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

const SECOND: Time = 1_000_000;

impl Rule {
    /// As it is built in.
    pub fn tuning(&self) -> Tuning {
        Tuning {
            worse: self.worse,
            warn: self.warn,
            critical: self.critical,
            clear: self.clear,
            lasts: Time::from(self.lasts) * SECOND,
            keep: Time::from(self.keep) * SECOND,
        }
    }

    /// Where it is explained.
    pub fn link(&self) -> String {
        format!("docs/alerts.md#{}", self.name)
    }
}

pub fn all() -> impl Iterator<Item = &'static Rule> {
    [
        workers::RULES,
        flow::RULES,
        partitions::RULES,
        replication::RULES,
        server::RULES,
    ]
    .into_iter()
    .flatten()
}

pub fn named(name: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.name == name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::alert::machine::Level;

    const DOCUMENTATION: &str = include_str!("../../../docs/alerts.md");

    #[test]
    fn every_rule_is_complete() {
        for rule in all() {
            let name = rule.name;
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
            assert!(rule.warn.or(rule.critical).is_some(), "{name} has no threshold");
            for text in [rule.title, rule.why, rule.unit, rule.remedy, rule.run] {
                assert!(!text.is_empty(), "{name}");
            }
            assert!(rule.run.ends_with(';'), "{name}: {}", rule.run);
            assert_eq!(all().filter(|other| other.name == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn thresholds_are_in_order() {
        for rule in all() {
            let tuning = rule.tuning();
            if let (Some(warn), Some(critical)) = (rule.warn, rule.critical) {
                assert_eq!(tuning.level(critical), Some(Level::Critical), "{}", rule.name);
                assert_eq!(tuning.level(warn), Some(Level::Warning), "{}", rule.name);
            }
            // Between the clear threshold and the first one nothing begins.
            let first = rule.warn.or(rule.critical).unwrap();
            let between = match rule.worse {
                Worse::Higher => rule.clear <= first,
                Worse::Lower => rule.clear >= first,
            };
            assert!(between, "{}", rule.name);
        }
    }

    #[test]
    fn causes_are_rules_and_nothing_explains_itself() {
        fn visit(rule: &Rule, path: &mut Vec<&'static str>) {
            assert!(!path.contains(&rule.name), "{path:?} goes round to {}", rule.name);
            path.push(rule.name);
            for cause in rule.causes {
                assert!(named(cause).is_some(), "{cause} is no rule");
                visit(named(cause).unwrap(), path);
            }
            path.pop();
        }
        for rule in all() {
            visit(rule, &mut Vec::new());
        }
    }

    #[test]
    fn every_rule_has_its_section_and_every_section_its_rule() {
        let sections: Vec<&str> = DOCUMENTATION
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        let rules: Vec<&str> = all().map(|rule| rule.name).collect();
        for rule in &rules {
            assert!(
                sections.contains(rule),
                "docs/alerts.md says nothing about {rule}"
            );
        }
        for section in &sections {
            assert!(
                rules.contains(section),
                "docs/alerts.md has {section}, which is no rule"
            );
        }
        for part in ["**Meaning.**", "**Impact.**", "**Diagnosis.**", "**Remedy.**"] {
            assert_eq!(DOCUMENTATION.matches(part).count(), rules.len(), "{part}");
        }
    }

    #[test]
    fn the_documentation_names_the_thresholds() {
        for rule in all() {
            let section = DOCUMENTATION
                .split("\n### ")
                .find(|section| section.lines().next() == Some(rule.name))
                .unwrap_or_default();
            assert!(section.contains(&facts(rule)), "{}: {}", rule.name, facts(rule));
        }
    }

    /// The line of a section that says what the rule goes by.
    fn facts(rule: &Rule) -> String {
        let threshold = |limit: Option<f64>| limit.map_or("never".to_owned(), |limit| limit.to_string());
        let place = match rule.place {
            Where::Anywhere => "on every node",
            Where::Primary => "on the primary",
            Where::Standby => "on standbys",
            Where::Workers => "on the primary, with workers",
        };
        let causes = match rule.causes {
            [] => String::new(),
            causes => format!(" Explained by {}.", causes.join(", ")),
        };
        format!(
            "Warning {}, critical {}, clear beyond {} ({}); for {} s, over after {} s; {place}.{causes}",
            threshold(rule.warn),
            threshold(rule.critical),
            rule.clear,
            rule.unit,
            rule.lasts,
            rule.keep
        )
    }
}
