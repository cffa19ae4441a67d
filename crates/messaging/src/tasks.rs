use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::task::TaskTracker;

/// Where the tasks of a service run: on the runtime, or wherever somebody polls them by hand. Clones share the count of those under way.
#[derive(Clone, Default)]
pub struct Tasks {
    under_way: TaskTracker,
    polled_by: Option<Spawn>,
}

/// Takes a task in, to be polled.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

impl Tasks {
    /// On the runtime.
    pub fn new() -> Self {
        Self::default()
    }

    /// Each task is given away, to whoever polls it: a simulation decides whose turn it is, and drops what it kills.
    pub fn polled_by(spawn: Spawn) -> Self {
        Self { polled_by: Some(spawn), ..Self::default() }
    }

    /// Tasks of their own, of which one waits for the end, in the same place.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { under_way: TaskTracker::new(), polled_by: self.polled_by.clone() }
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.under_way.track_future(task);
        match &self.polled_by {
            Some(spawn) => spawn(Box::pin(task)),
            None => drop(tokio::spawn(task)),
        }
    }

    /// Waits until all tasks that there are have ended, or were dropped. Those that come later are waited for, too.
    pub async fn ended(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}
