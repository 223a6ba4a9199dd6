//! Which slot feeds how many tokens into the next batch. Pure, so that it can be tested without a model.

use mentor_actors::ports::Slot;

/// A slot with tokens that are not evaluated yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) slot: Slot,
    /// Tokens not evaluated yet, at least 1: one while an answer is written, more while its prompt is read.
    pub(super) pending: usize,
    /// Grows with every generation: who came first has the lower number.
    pub(super) arrival: u64,
}

/// What a slot feeds into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feed {
    pub(super) slot: Slot,
    /// How many of its pending tokens, at least 1.
    pub(super) tokens: usize,
    /// Whether nothing is left pending after it, so that the next token can be chosen.
    pub(super) completes: bool,
}

/// Answers first, so that a long prompt never makes a running answer stutter; then prompts in the order they came.
pub(super) fn plan_batch(demands: &[Demand], batch_tokens: usize) -> Vec<Feed> {
    let mut order: Vec<&Demand> = demands.iter().filter(|demand| demand.pending > 0).collect();
    order.sort_by_key(|demand| (demand.pending > 1, demand.arrival));
    let mut left = batch_tokens;
    let mut feeds = Vec::with_capacity(order.len());
    for demand in order {
        let tokens = demand.pending.min(left);
        if tokens == 0 {
            break;
        }
        left -= tokens;
        feeds.push(Feed { slot: demand.slot, tokens, completes: tokens == demand.pending });
    }
    feeds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(slot: Slot, pending: usize, arrival: u64) -> Demand {
        Demand { slot, pending, arrival }
    }

    fn feed(slot: Slot, tokens: usize, completes: bool) -> Feed {
        Feed { slot, tokens, completes }
    }

    #[test]
    fn a_long_prompt_is_read_in_chunks() {
        assert_eq!(plan_batch(&[demand(0, 600, 1)], 256), [feed(0, 256, false)]);
        assert_eq!(plan_batch(&[demand(0, 88, 1)], 256), [feed(0, 88, true)]);
    }

    #[test]
    fn running_answers_go_before_prompts_and_older_prompts_before_newer() {
        let demands = [demand(0, 600, 5), demand(1, 300, 2), demand(2, 1, 7), demand(3, 1, 1)];
        let plan = plan_batch(&demands, 256);
        assert_eq!(plan, [feed(3, 1, true), feed(2, 1, true), feed(1, 254, false)]);
    }

    #[test]
    fn what_is_left_of_a_batch_goes_to_the_next_prompt() {
        let plan = plan_batch(&[demand(0, 100, 1), demand(1, 100, 2)], 128);
        assert_eq!(plan, [feed(0, 100, true), feed(1, 28, false)]);
    }

    #[test]
    fn no_demand_makes_no_batch() {
        assert!(plan_batch(&[], 256).is_empty());
        assert!(plan_batch(&[demand(0, 0, 1)], 256).is_empty());
    }

    #[test]
    fn a_batch_is_never_longer_than_allowed() {
        let demands: Vec<_> = (0..50).map(|slot| demand(slot, 1 + slot * 7, slot as u64)).collect();
        for batch_tokens in 1..200 {
            let tokens: usize = plan_batch(&demands, batch_tokens).iter().map(|feed| feed.tokens).sum();
            assert_eq!(tokens, batch_tokens);
        }
    }
}
