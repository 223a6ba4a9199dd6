//! When clients come: an open loop. The moments are fixed beforehand and do not wait for the server, and times are measured
//! from them, so that a server which stalls is charged for everybody who would have come meanwhile (no coordinated omission).

use std::time::Duration;

use clap::ValueEnum;

use crate::random::Random;

/// How moments are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Spacing {
    /// Evenly.
    Fixed,
    /// As clients come who know nothing of each other.
    Poisson,
}

/// The moments of `count` arrivals at a rate per second, from the beginning of the run.
pub fn moments(spacing: Spacing, count: usize, rate: f64, random: &mut Random) -> Vec<Duration> {
    let step = Duration::from_secs_f64(1.0 / rate.max(f64::MIN_POSITIVE)).min(Duration::from_secs(86_400));
    match spacing {
        Spacing::Fixed => (0..count).map(|number| step.mul_f64(number as f64)).collect(),
        Spacing::Poisson => {
            let mut at = Duration::ZERO;
            let next = |_| {
                at += random.wait(step);
                at
            };
            (0..count).map(next).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_arrivals_are_evenly_spaced() {
        let moments = moments(Spacing::Fixed, 3, 4.0, &mut Random::new(1, 0));
        assert_eq!(moments, [0, 250, 500].map(Duration::from_millis));
    }

    #[test]
    fn poisson_arrivals_come_in_order_at_the_rate() {
        let moments = moments(Spacing::Poisson, 10_000, 100.0, &mut Random::new(1, 0));
        assert!(moments.is_sorted());
        let seconds = moments[moments.len() - 1].as_secs_f64();
        assert!((95.0..105.0).contains(&seconds), "{seconds}");
    }
}
