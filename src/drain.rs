//! How a server stops without losing anything: no new turn, running ones end or are cut off at the deadline, and everything is
//! stored. Sockets are closed afterwards, when every client can have its last event.

use std::time::Duration;

use mentor_actors::admission::Admission;
use mentor_actors::cancel::CancelToken;
use mentor_actors::storage::Storage;

/// Turns that were cut off get so long to be stored and say so. Longer than anybody waits for the store, so that each has an end
/// also when the disk has none: normally it takes a step of the engine and a flush.
const CUT_OFF: Duration = Duration::from_secs(12);

/// What takes part.
pub struct Drain {
    /// Lets turns in.
    pub admission: Admission,
    /// Cancels every turn, also those that begin later with a place they have: [`mentor_actors::turn::TurnServices::cut_off`].
    pub cut_off: CancelToken,
    /// Where they are kept.
    pub storage: Storage,
}

impl Drain {
    /// Ends when every turn has ended and is stored, at the latest a moment after the deadline, or after `hurry`.
    pub async fn run(self, deadline: Duration, hurry: impl Future<Output = ()>) {
        self.admission.close();
        let in_time = tokio::select! {
            () = self.admission.empty() => true,
            () = tokio::time::sleep(deadline) => false,
            () = hurry => false,
        };
        if !in_time {
            tracing::warn!("answers that are not finished are cut off");
            self.cut_off.cancel();
            if tokio::time::timeout(CUT_OFF, self.admission.empty()).await.is_err() {
                tracing::error!("some turns did not end: they will end with an error after the restart");
            }
        }
        if let Err(error) = self.storage.flush().await {
            tracing::error!(%error, "the conversations are not flushed");
        }
    }
}
