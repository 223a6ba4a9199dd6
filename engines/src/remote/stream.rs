//! The pieces of one answer, as they come.

use std::collections::VecDeque;

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;

use super::client::transport_failure;
use super::completion::{Piece, read_piece};
use super::failure::RemoteFailure;
use super::sse::SseParser;

/// An answer that has begun. Dropping it closes the connection, and with it the server stops writing.
#[derive(Debug)]
pub(super) struct AnswerStream {
    response: Response,
    parser: SseParser,
    /// Events that came together with the last one.
    events: VecDeque<String>,
    ended: bool,
}

impl AnswerStream {
    /// # Errors
    /// A reply that is something else than a stream of events.
    pub(super) fn new(response: Response) -> Result<Self, RemoteFailure> {
        let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        if content_type.is_some_and(|kind| !kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")) {
            return Err(RemoteFailure::Garbage("no stream of events".into()));
        }
        Ok(Self { response, parser: SseParser::default(), events: VecDeque::new(), ended: false })
    }

    /// The next piece; `None` when the server says that this was all.
    ///
    /// # Errors
    /// A lost connection, one that ends without that word, an error that the server reports, garbage.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, RemoteFailure> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return read_piece(&event);
            }
            if self.ended {
                return Err(RemoteFailure::Unfinished);
            }
            self.read().await?;
        }
    }

    /// Waits for the end of the reply, after which the connection can carry another request.
    pub(super) async fn drain(mut self) {
        while let Ok(Some(_)) = self.response.chunk().await {}
    }

    async fn read(&mut self) -> Result<(), RemoteFailure> {
        match self.response.chunk().await.map_err(|error| transport_failure(&error))? {
            Some(bytes) => {
                let events = self.parser.push(&bytes).map_err(|error| RemoteFailure::Garbage(error.to_string()))?;
                self.events.extend(events);
            }
            None => {
                self.ended = true;
                self.events.extend(self.parser.finish());
            }
        }
        Ok(())
    }
}
