//! The table that a run prints, case by case.

use super::{Environment, json};
use crate::case::{Bound, Compare, Goal};
use crate::outcome::{Line, Outcome};
use crate::stats::Summary;

pub fn print_head(environment: &Environment) {
    println!(
        "PostgreSQL {}, pg_telemetry {}; {} x {}, load {:.1} before the run\n",
        environment.postgresql,
        environment.pg_telemetry,
        environment.cpus,
        environment.cpu,
        environment.load_before
    );
    println!(
        "{:<30}{:>11}{:>11}{:>9}  {:<16}goal",
        "", "ours", "baseline", "ratio", "spread"
    );
}

pub fn print(outcome: &Outcome) {
    println!(
        "{}: {}; against {} (load {:.1}, {:.0} s)",
        outcome.case,
        outcome.shows,
        outcome.baseline,
        outcome.load,
        outcome.took.as_secs_f64()
    );
    for line in &outcome.lines {
        println!("{}", format_line(line));
    }
}

/// All goals of the run once more, each with the figure that it is about.
pub fn print_goals(outcomes: &[Outcome]) {
    println!("\n{:<32}{:<30}{:<16}{:>9}", "goals", "", "goal", "figure");
    for outcome in outcomes {
        for line in &outcome.lines {
            if let Some(text) = format_goal(outcome.case, line) {
                println!("{text}");
            }
        }
    }
}

fn format_goal(case: &str, line: &Line) -> Option<String> {
    let wanted = line.metric.goal?;
    let figure = match wanted {
        Goal::Ours(_) => number(line.ours.median),
        Goal::Ratio(_) => line
            .ratio
            .map_or("–".into(), |ratio| format!("{:.2}", ratio.median)),
    };
    let verdict = match line.meets_goal() {
        Some(true) => "met",
        Some(false) => "missed",
        None => "nothing to compare",
    };
    Some(format!(
        "{case:<32}{:<30}{:<16}{figure:>9}  {verdict}",
        line.metric.name,
        goal(wanted)
    ))
}

pub fn print_legend() {
    println!(
        "\nMedians of all rounds. ratio: baseline / ours, how many times cheaper ours is; with *: ours / baseline.\n\
         spread: the middle half of the ratios of all rounds, or of our values where there is no ratio.\n\
         Every sample is in {}.",
        json::folder().display()
    );
}

fn format_line(line: &Line) -> String {
    let ratio = match (line.ratio, line.metric.compare) {
        (Some(ratio), Compare::OfBaseline) => format!("{:.2}*", ratio.median),
        (Some(ratio), _) => format!("{:.2} ", ratio.median),
        (None, _) => String::new(),
    };
    let spread = match line.ratio {
        Some(ratio) => format!("{:.2} – {:.2}", ratio.lower_quartile, ratio.upper_quartile),
        None => spread(line.ours),
    };
    let verdict = match line.meets_goal() {
        Some(true) => "  met",
        Some(false) => "  missed",
        None => "",
    };
    let text = format!(
        "  {:<28}{:>11}{:>11}{:>9}  {:<16}{}{verdict}",
        line.metric.name,
        number(line.ours.median),
        number(line.baseline.median),
        ratio,
        spread,
        line.metric.goal.map(goal).unwrap_or_default(),
    );
    text.trim_end().to_owned()
}

pub fn goal(goal: Goal) -> String {
    let (what, bound) = match goal {
        Goal::Ratio(bound) => ("ratio", bound),
        Goal::Ours(bound) => ("ours", bound),
    };
    match bound {
        Bound::AtLeast(bound) => format!("{what} ≥ {bound}"),
        Bound::AtMost(bound) => format!("{what} ≤ {bound}"),
    }
}

fn spread(values: Summary) -> String {
    format!(
        "{} – {}",
        number(values.lower_quartile),
        number(values.upper_quartile)
    )
}

/// Three digits that matter, and thousands that can be read.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => grouped(value.round() as i64),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Metric;

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        let texts = [0.0, 0.0123, 1.5, 54.04, 999.5, 1_234_567.8, -2500.0].map(number);
        assert_eq!(
            texts,
            ["0", "0.012", "1.50", "54.0", "1,000", "1,234,568", "-2,500"]
        );
    }

    fn line() -> Line {
        let summary = |value| Summary {
            median: value,
            lower_quartile: value - 1.0,
            upper_quartile: value + 1.0,
        };
        Line {
            metric: Metric::new("CPU ns/row", Compare::TimesCheaper).ratio_goal(Bound::AtLeast(5.0)),
            ours: summary(300.0),
            baseline: summary(1200.0),
            ratio: Some(summary(4.0)),
        }
    }

    fn words(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_line_says_how_far_from_the_goal_it_is() {
        assert_eq!(
            words(&format_line(&line())),
            "CPU ns/row 300 1,200 4.00 3.00 – 5.00 ratio ≥ 5 missed"
        );
    }

    #[test]
    fn the_list_of_goals_has_the_figure_that_each_is_about() {
        let with_ratio = format_goal("flush", &line()).expect("it has a goal");
        assert_eq!(words(&with_ratio), "flush CPU ns/row ratio ≥ 5 4.00 missed");
        let metric = Metric::new("pages", Compare::OfBaseline);
        let without = Line { metric, ..line() };
        assert_eq!(format_goal("flush", &without), None);
        let of_ours = Line {
            metric: metric.goal(Bound::AtMost(300.0)),
            ..line()
        };
        let of_ours = format_goal("flush", &of_ours).expect("it has a goal");
        assert_eq!(words(&of_ours), "flush pages ours ≤ 300 300 met");
    }
}
