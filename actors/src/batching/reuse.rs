//! How much of what was evaluated before a new prompt may keep.

use crate::ports::{EncodedPrompt, Token};

/// Tokens in the decoder, or saved from it, and whose they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evaluated<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) scope: &'a str,
}

/// Leading tokens of `prompt` that need no evaluation.
///
/// Within a scope that is the longest common prefix. Across scopes it ends with the system message, which is the same for
/// everyone: reusing more would tell one student, by the time it takes, what another one asked. The last token is always
/// evaluated anew, because only evaluation gives the scores to choose the next one from.
pub(super) fn reusable_tokens(evaluated: Evaluated<'_>, prompt: &EncodedPrompt, scope: &str) -> usize {
    let common = evaluated.tokens.iter().zip(&prompt.tokens).take_while(|(old, new)| old == new).count();
    let allowed = if evaluated.scope == scope { prompt.tokens.len() } else { prompt.shared };
    common.min(allowed).min(prompt.tokens.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(numbers: &[i32]) -> Vec<Token> {
        numbers.iter().copied().map(Token).collect()
    }

    fn prompt(numbers: &[i32], shared: usize) -> EncodedPrompt {
        EncodedPrompt { tokens: tokens(numbers), shared }
    }

    fn reusable(evaluated: &[i32], prompt: &EncodedPrompt, scope: &str) -> usize {
        reusable_tokens(Evaluated { tokens: &tokens(evaluated), scope: "a" }, prompt, scope)
    }

    #[test]
    fn within_a_scope_the_common_prefix_is_kept() {
        assert_eq!(reusable(&[1, 2, 3, 4, 9], &prompt(&[1, 2, 3, 4, 5, 6], 2), "a"), 4);
    }

    #[test]
    fn across_scopes_only_the_system_message_is_kept() {
        assert_eq!(reusable(&[1, 2, 3, 4, 9], &prompt(&[1, 2, 3, 4, 5, 6], 2), "b"), 2);
        assert_eq!(reusable(&[1, 7, 3], &prompt(&[1, 2, 3], 2), "b"), 1);
        assert_eq!(reusable(&[1, 2, 3], &prompt(&[1, 2, 3], 0), "b"), 0);
    }

    #[test]
    fn the_last_token_is_always_evaluated() {
        assert_eq!(reusable(&[1, 2, 3], &prompt(&[1, 2, 3], 1), "a"), 2);
        assert_eq!(reusable(&[1, 2, 3, 4], &prompt(&[1, 2, 3], 3), "b"), 2);
    }

    #[test]
    fn an_empty_cache_gives_nothing() {
        assert_eq!(reusable(&[], &prompt(&[1, 2], 1), "a"), 0);
        assert_eq!(reusable(&[1], &prompt(&[], 0), "a"), 0);
    }
}
