//! From the samples of a case to what is reported about it.

use std::time::Duration;

use crate::case::{Case, Compare, Goal, Metric, Sample};
use crate::rounds::Samples;
use crate::stats::{Summary, median};

pub struct Outcome {
    pub case: &'static str,
    pub shows: &'static str,
    /// The baseline that was the better one, by the first metric.
    pub baseline: &'static str,
    pub lines: Vec<Line>,
    pub baselines: &'static [&'static str],
    pub samples: Samples,
    /// Of the machine in the minute before the first round: our own set-up, and whatever else runs there.
    pub load: f64,
    /// Of all rounds.
    pub took: Duration,
}

/// One metric of a case.
#[derive(Debug)]
pub struct Line {
    pub metric: Metric,
    pub ours: Summary,
    pub baseline: Summary,
    /// Of the ratios of all rounds: two neighbours in time are compared, not two averages over the whole run.
    pub ratio: Option<Summary>,
}

impl Outcome {
    pub fn of(case: &dyn Case, samples: Samples, load: f64, took: Duration) -> Outcome {
        let metrics = case.metrics();
        let best = better_baseline(metrics[0].name, &samples.baselines);
        let lines = metrics
            .into_iter()
            .map(|metric| Line::of(metric, &samples.ours, &samples.baselines[best]))
            .collect();
        Outcome {
            case: case.name(),
            shows: case.shows(),
            baseline: case.baselines()[best],
            lines,
            baselines: case.baselines(),
            samples,
            load,
            took,
        }
    }
}

impl Line {
    fn of(metric: Metric, ours: &[Sample], baseline: &[Sample]) -> Line {
        let ours = values(metric.name, ours);
        let baseline = values(metric.name, baseline);
        let ratios: Option<Vec<f64>> = ours
            .iter()
            .zip(&baseline)
            .map(|(ours, baseline)| ratio(metric.compare, *ours, *baseline))
            .collect();
        Line {
            metric,
            ours: Summary::of(&ours),
            baseline: Summary::of(&baseline),
            ratio: ratios.map(|ratios| Summary::of(&ratios)),
        }
    }

    /// None without a goal, and when a ratio was wanted of something that is zero.
    pub fn meets_goal(&self) -> Option<bool> {
        match self.metric.goal? {
            Goal::Ours(bound) => Some(bound.is_met_by(self.ours.median)),
            Goal::Ratio(bound) => self.ratio.map(|ratio| bound.is_met_by(ratio.median)),
        }
    }
}

fn ratio(compare: Compare, ours: f64, baseline: f64) -> Option<f64> {
    let (over, under) = match compare {
        Compare::TimesCheaper => (baseline, ours),
        Compare::OfBaseline => (ours, baseline),
        Compare::SideBySide => return None,
    };
    (under != 0.0).then_some(over / under)
}

fn better_baseline(metric: &str, baselines: &[Vec<Sample>]) -> usize {
    let cost = |which: &usize| median(&values(metric, &baselines[*which]));
    (0..baselines.len())
        .min_by(|left, right| cost(left).total_cmp(&cost(right)))
        .expect("a case has a baseline")
}

fn values(metric: &str, samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.value(metric)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Bound;

    fn samples(values: &[f64]) -> Vec<Sample> {
        values
            .iter()
            .map(|value| Sample::default().with("cost", *value))
            .collect()
    }

    fn line(metric: Metric, ours: &[f64], baseline: &[f64]) -> Line {
        Line::of(metric, &samples(ours), &samples(baseline))
    }

    #[test]
    fn the_better_baseline_is_the_cheaper_one() {
        let plain = samples(&[5.0, 6.0, 7.0]);
        let sorted = samples(&[4.0, 90.0, 4.0]);
        assert_eq!(better_baseline("cost", &[plain.clone(), sorted.clone()]), 1);
        assert_eq!(better_baseline("cost", &[sorted, plain]), 0);
    }

    #[test]
    fn a_machine_that_slows_down_does_not_change_the_ratio() {
        let metric = Metric::new("cost", Compare::TimesCheaper).ratio_goal(Bound::AtLeast(5.0));
        let line = line(metric, &[1.0, 2.0, 4.0], &[5.0, 10.0, 20.0]);
        let ratio = line.ratio.expect("nothing is zero");
        assert_eq!((ratio.lower_quartile, ratio.upper_quartile), (5.0, 5.0));
        assert_eq!(line.meets_goal(), Some(true));
    }

    #[test]
    fn a_goal_can_be_about_our_value_alone() {
        let metric = Metric::new("cost", Compare::OfBaseline).goal(Bound::AtMost(55.0));
        assert_eq!(line(metric, &[54.0], &[104.0]).meets_goal(), Some(true));
        assert_eq!(line(metric, &[56.0], &[104.0]).meets_goal(), Some(false));
    }

    #[test]
    fn nothing_is_said_about_a_ratio_to_zero() {
        let metric = Metric::new("cost", Compare::OfBaseline).ratio_goal(Bound::AtMost(1.0));
        let line = line(metric, &[3.0], &[0.0]);
        assert_eq!(line.ratio, None);
        assert_eq!(line.meets_goal(), None);
    }
}
