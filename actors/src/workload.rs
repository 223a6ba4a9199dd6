//! How much there is to do for a turn, in tokens, before anybody has counted them.

use crate::domain::{TurnRequest, Usage};
use crate::prompt::PromptParts;
use crate::turn::TurnSettings;

/// What a token of English text has.
const CHARS_PER_TOKEN: usize = 4;

/// Prompt tokens of a passage, with the line that says where it is from.
const PASSAGE_TOKENS: usize = 130;

/// Writing a token takes longer than reading one. This has to rank turns, not to be exact: how long a unit takes is measured.
const READ_PER_WRITTEN: u64 = 4;

/// Tokens of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Workload {
    /// To be read.
    pub prompt_tokens: usize,
    /// To be written.
    pub answer_tokens: usize,
}

impl Workload {
    /// Of a question nothing was searched for yet: with as many passages as it may get. Its history is not known.
    #[must_use]
    pub fn of_question(request: &TurnRequest, settings: &TurnSettings) -> Self {
        let options = &request.options;
        let said = request.message.len() + options.instructions.as_ref().map_or(0, String::len);
        let passages = options.top_k.unwrap_or(settings.top_k) * PASSAGE_TOKENS;
        let prompt_tokens = tokens_of(settings.system_prompt.len() + said) + passages;
        Self {
            prompt_tokens: prompt_tokens.min(settings.prompt_tokens),
            answer_tokens: options.max_tokens.unwrap_or(settings.max_tokens),
        }
    }

    /// Of a question with its passages.
    #[must_use]
    pub fn of_prompt(parts: &PromptParts, max_tokens: usize) -> Self {
        let passages: usize = parts.passages.iter().map(|scored| scored.passage.text.len()).sum();
        let prompt_tokens = tokens_of(parts.system.len() + passages + parts.question.len());
        Self { prompt_tokens: prompt_tokens.min(parts.budget_tokens), answer_tokens: max_tokens }
    }

    /// Of a turn that is over: without what was evaluated before.
    #[must_use]
    pub fn of_usage(usage: Usage) -> Self {
        let prompt_tokens = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        Self { prompt_tokens, answer_tokens: usage.completion_tokens }
    }

    /// All of it as one number: a unit is a token that is read. At least one.
    #[must_use]
    pub fn units(self) -> u64 {
        (self.prompt_tokens as u64 + self.answer_tokens as u64 * READ_PER_WRITTEN).max(1)
    }
}

fn tokens_of(chars: usize) -> usize {
    chars.div_ceil(CHARS_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_what_was_evaluated_before_costs_nothing_and_writing_costs_most() {
        let usage = Usage { prompt_tokens: 700, cached_tokens: 600, completion_tokens: 50 };
        assert_eq!(Workload::of_usage(usage), Workload { prompt_tokens: 100, answer_tokens: 50 });
        assert_eq!(Workload::of_usage(usage).units(), 300);
        assert_eq!(Workload::default().units(), 1);
    }
}
