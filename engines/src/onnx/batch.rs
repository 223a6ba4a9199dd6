//! Which texts go through the model together.

/// How much one run takes, and how much of it may be padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchPolicy {
    /// Tokens of one run, padding included. A text longer than that runs alone.
    pub(super) tokens: usize,
    /// By how many tokens a text may be shorter than the longest of its run.
    pub(super) slack: usize,
}

/// Indices into `lengths`, run by run: each index once, the longest texts first, similar lengths together.
pub(super) fn plan(lengths: &[usize], policy: BatchPolicy) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(lengths[text]));
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for text in order {
        match runs.last_mut() {
            Some(run) if fits(lengths[run[0]], run.len() + 1, lengths[text], policy) => run.push(text),
            _ => runs.push(vec![text]),
        }
    }
    runs
}

fn fits(longest: usize, rows: usize, length: usize, policy: BatchPolicy) -> bool {
    rows * longest <= policy.tokens && longest - length <= policy.slack.max(longest / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BatchPolicy = BatchPolicy { tokens: 1024, slack: 8 };

    #[test]
    fn every_text_runs_once_within_the_budget() {
        let lengths: Vec<usize> = (0..500).map(|i| 2 + (i * 7919) % 255).collect();
        let runs = plan(&lengths, POLICY);
        let mut seen: Vec<usize> = runs.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        for run in &runs {
            assert!(run.len() * lengths[run[0]] <= 1024, "a run of {} is too large", run.len());
        }
    }

    #[test]
    fn texts_of_similar_length_run_together() {
        assert_eq!(plan(&[128; 16], POLICY).len(), 2);
        let lengths = [12, 120, 11, 128, 12, 125];
        assert_eq!(plan(&lengths, POLICY), [vec![3, 5, 1], vec![0, 4, 2]]);
    }

    #[test]
    fn a_text_over_the_budget_runs_alone() {
        assert_eq!(plan(&[3000, 2999], POLICY), [vec![0], vec![1]]);
        assert!(plan(&[], POLICY).is_empty());
    }
}
