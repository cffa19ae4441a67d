use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use event::Key;
use futures::future::{BoxFuture, FutureExt as _};
use futures::{Stream, StreamExt as _};
use identity::session::Sessions;
use ledger::{Caller, Ledger, Reader, Result};
use tokio_util::sync::CancellationToken;

/// How long a watcher waits at most before it looks again, whether or not a bell rang. The bell may be lost, the log not.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What a bell says: that it is time to look.
pub type Rings = Pin<Box<dyn Stream<Item = ()> + Send + Sync>>;

/// Hangs a bell at a key: it rings whenever the key was appended to, by whichever instance. It may miss some.
pub type Bell = Arc<dyn Fn(&Key) -> BoxFuture<'static, Rings> + Send + Sync>;

/// What a query that goes on answering can see: the database as it is committed, each time anew, and a bell that tells when to look.
pub struct Watch {
    pub(crate) ledger: Ledger,
    pub(crate) caller: Caller,
    pub(crate) bell: Bell,
    pub(crate) hung: Option<(Key, Rings)>,
    pub(crate) stop: CancellationToken,
    pub(crate) has_sessions: bool,
    pub(crate) sessions: Arc<Sessions>,
}

impl Watch {
    /// What is committed now. Fails with UNAUTHENTICATED once the caller's session has ended.
    pub async fn reader(&self) -> Result<Reader> {
        let reader = self.ledger.reader(self.caller.clone()).await?;
        if self.has_sessions {
            crate::intake::check_session(&self.sessions, &reader, reader.now()).await?;
        }
        Ok(reader)
    }

    /// Waits until this key was appended to, or it is time to look anyway. False if the service is stopping.
    pub async fn changed(&mut self, key: &Key) -> bool {
        let rings = match &mut self.hung {
            Some((hung_at, rings)) if hung_at == key => rings,
            hung => {
                *hung = Some((key.clone(), (self.bell)(key).await));
                // What was appended between the last look and now has rung for nobody: look again at once.
                return !self.stop.is_cancelled();
            }
        };
        let rung = async {
            if rings.next().await.is_none() {
                // There is no bell; the time will tell.
                std::future::pending::<()>().await;
            }
            // One look is enough for all that has rung by now.
            while rings.next().now_or_never().flatten().is_some() {}
        };
        self.stop.run_until_cancelled(tokio::time::timeout(LOOK_AGAIN, rung)).await.is_some()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("caller", &self.caller).finish_non_exhaustive()
    }
}
