use std::time::Duration;

use event::Key;
use ledger::{Caller, Ledger, Reader, Result};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// How long a watcher waits at most before it looks again, whether or not a bell rang. The bell may be lost, the log not.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What a query that goes on answering can see: the database as it is committed, each time anew, and a bell that tells when to look.
#[derive(Debug)]
pub struct Watch {
    pub(crate) ledger: Ledger,
    pub(crate) caller: Caller,
    pub(crate) bell: broadcast::Receiver<Key>,
    pub(crate) stop: CancellationToken,
    pub(crate) has_sessions: bool,
}

impl Watch {
    /// What is committed now. Fails with UNAUTHENTICATED once the caller's session has ended.
    pub async fn reader(&self) -> Result<Reader> {
        let reader = self.ledger.reader(self.caller.clone()).await?;
        if self.has_sessions {
            crate::intake::check_session(&reader, reader.now()).await?;
        }
        Ok(reader)
    }

    /// Waits until this key was appended to, or it is time to look anyway. False if the service is stopping.
    pub async fn changed(&mut self, key: &Key) -> bool {
        let bell = &mut self.bell;
        let rung = async {
            // A bell that lagged has lost some rings: then look, too.
            while let Ok(rung) = bell.recv().await {
                if rung == *key {
                    return;
                }
            }
        };
        let waited = self.stop.run_until_cancelled(tokio::time::timeout(LOOK_AGAIN, rung)).await;
        waited.is_some()
    }
}
