//! A turn without a conversation: the history comes along with the question, and nothing of either is kept.

use std::sync::Arc;

use crate::admission::Admitted;
use crate::cancel::{CancelOnDrop, CancelToken};
use crate::domain::{ConversationId, NumberedEvent, TurnRequest};
use crate::prompt::Exchange;
use crate::turn::{Scribe, Turn, TurnServices};
use crate::turn_log::{Cursor, Lagged, TurnLog};
use crate::turn_queue::Flow;

/// A running turn. Dropping it cancels it: nobody could come back for its answer.
#[derive(Debug)]
pub struct StatelessTurn {
    cursor: Cursor,
    _cancel: CancelOnDrop,
}

impl StatelessTurn {
    /// Begins a turn that was let in, after `history`, oldest exchange first. It runs as a task of the calling thread's arbiter, so
    /// that a panic costs this turn alone: its scribe then ends the log.
    #[must_use]
    pub fn start(services: &TurnServices, admitted: Admitted, history: Vec<Exchange>, request: TurnRequest) -> Self {
        let (log, cancel) = (Arc::new(TurnLog::default()), CancelToken::default());
        let cursor = log.watch(0);
        let turn = Turn {
            services: services.clone(),
            conversation_id: ConversationId::generate(),
            flow: Flow { client: request.client.clone(), conversation: None },
            history,
            cancel: cancel.clone(),
            scribe: Scribe::new(log, request.turn_id.clone()),
            admitted: Arc::new(admitted),
            read: None,
            request,
        };
        actix::spawn(turn.run());
        Self { cursor, _cancel: CancelOnDrop(cancel) }
    }

    /// The next event, waiting for it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Lagged`] when it is gone.
    pub async fn next(&mut self) -> Result<NumberedEvent, Lagged> {
        self.cursor.next().await
    }
}
