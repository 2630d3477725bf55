//! Interleaved rounds: whatever else the machine does meanwhile, it does to both sides.

use crate::case::{Run, Sample};

/// All rounds that count, for each side.
#[derive(Debug)]
pub struct Samples {
    pub ours: Vec<Sample>,
    pub baselines: Vec<Vec<Sample>>,
}

pub fn measure(run: &mut dyn Run, baselines: usize, warm_up: bool, rounds: usize) -> Samples {
    let mut samples = Samples {
        ours: Vec::new(),
        baselines: vec![Vec::new(); baselines],
    };
    if warm_up {
        run.ours();
        (0..baselines).for_each(|which| drop(run.baseline(which)));
    }
    let sides = 1 + baselines;
    for round in 0..rounds {
        // Each round begins with another side, so that none always comes after the same one.
        for turn in 0..sides {
            match (round + turn) % sides {
                0 => samples.ours.push(run.ours()),
                side => samples.baselines[side - 1].push(run.baseline(side - 1)),
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every sample is the number of calls so far.
    #[derive(Default)]
    struct Calls(f64);

    impl Calls {
        fn next(&mut self) -> Sample {
            self.0 += 1.0;
            Sample::default().with("call", self.0)
        }
    }

    impl Run for Calls {
        fn ours(&mut self) -> Sample {
            self.next()
        }

        fn baseline(&mut self, _: usize) -> Sample {
            self.next()
        }
    }

    fn calls(samples: &[Sample]) -> Vec<f64> {
        samples.iter().map(|sample| sample.value("call")).collect()
    }

    #[test]
    fn the_sides_take_turns_and_the_first_one_changes() {
        let samples = measure(&mut Calls::default(), 1, false, 4);
        assert_eq!(calls(&samples.ours), [1.0, 4.0, 5.0, 8.0]);
        assert_eq!(calls(&samples.baselines[0]), [2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn the_warm_up_does_not_count() {
        let samples = measure(&mut Calls::default(), 2, true, 1);
        assert_eq!(calls(&samples.ours), [4.0]);
        assert_eq!(calls(&samples.baselines[1]), [6.0]);
    }
}
