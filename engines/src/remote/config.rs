//! How to reach the server and how long to wait for it, and what was found there.

use std::fmt;
use std::time::Duration;

use super::address::ServerAddress;
use super::breaker::BreakerSettings;
use super::retry::RetryPolicy;
use crate::Secret;

/// How to use a server.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteConfig {
    /// Where it is.
    pub address: ServerAddress,
    /// The model's name there; `None` takes the only one that it lists.
    pub model: Option<String>,
    /// The key it asks for.
    pub api_key: Secret,
    /// Generations at once, at least 1. What exceeds the server's own limit waits there.
    pub parallel: usize,
    /// Tokens of one conversation, prompt and answer together; cut to what the server says.
    pub context_tokens: usize,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the first token, with all retries; at the start, for the list of models.
    pub first_token_timeout: Duration,
    /// Longest silence within an answer.
    pub idle_timeout: Duration,
    /// What to do about a failure before the first token.
    pub retries: RetryPolicy,
    /// When to stop asking.
    pub breaker: BreakerSettings,
}

impl RemoteConfig {
    /// 32 generations at once of 2048 tokens each; 5 s for a connection, 60 s for a first token, 20 s of silence.
    #[must_use]
    pub fn new(address: ServerAddress) -> Self {
        Self {
            address,
            model: None,
            api_key: Secret::default(),
            parallel: 32,
            context_tokens: 2048,
            connect_timeout: Duration::from_secs(5),
            first_token_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(20),
            retries: RetryPolicy::default(),
            breaker: BreakerSettings::default(),
        }
    }
}

/// What was found at the server. Its text form is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteInfo {
    /// Where it is.
    pub address: ServerAddress,
    /// The model's name there, without the folder it lies in.
    pub model: String,
    /// Tokens of one conversation, prompt and answer together.
    pub context_tokens: usize,
}

impl fmt::Display for RemoteInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {}, conversations of {} tokens)", self.model, self.address, self.context_tokens)
    }
}
