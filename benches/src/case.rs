//! What a benchmark case consists of.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::server::Server;

pub trait Case: Sync {
    fn name(&self) -> &'static str;

    /// What a reader learns from it, in one line.
    fn shows(&self) -> &'static str;

    /// What is compared. The first one decides which of several baselines is the better one.
    fn metrics(&self) -> Vec<Metric>;

    /// One name for each baseline. Ours is compared with the better one of them.
    fn baselines(&self) -> &'static [&'static str];

    /// How many rounds count: fewer than are wanted where they are long, more where they are short.
    fn rounds(&self, wanted: usize) -> usize {
        wanted
    }

    /// Whether one more round comes first that does not count: it fills caches and plans statements.
    fn warms_up(&self) -> bool {
        true
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run>;
}

/// A case that was set up. Each call does the same amount of work as the call before.
pub trait Run {
    fn ours(&mut self) -> Sample;

    /// `which` counts through [`Case::baselines`].
    fn baseline(&mut self, which: usize) -> Sample;

    /// After the last round: fails when a side has not done all of its work.
    fn verify(&mut self) {}
}

/// What one round of one side came to, by the name of the metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample(BTreeMap<&'static str, f64>);

impl Sample {
    pub fn with(mut self, metric: &'static str, value: f64) -> Sample {
        self.0.insert(metric, value);
        self
    }

    pub fn value(&self, metric: &str) -> f64 {
        *self
            .0
            .get(metric)
            .unwrap_or_else(|| panic!("the case did not measure {metric:?}"))
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// baseline / ours, for costs.
    TimesCheaper,
    /// ours / baseline.
    OfBaseline,
    /// No ratio: side by side is all that can be said, because one of them may be zero.
    SideBySide,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub fn is_met_by(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    Ratio(Bound),
    Ours(Bound),
}

#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub compare: Compare,
    pub goal: Option<Goal>,
}

impl Metric {
    pub fn new(name: &'static str, compare: Compare) -> Metric {
        Metric {
            name,
            compare,
            goal: None,
        }
    }

    pub fn ratio_goal(self, bound: Bound) -> Metric {
        Metric {
            goal: Some(Goal::Ratio(bound)),
            ..self
        }
    }

    pub fn goal(self, bound: Bound) -> Metric {
        Metric {
            goal: Some(Goal::Ours(bound)),
            ..self
        }
    }
}
