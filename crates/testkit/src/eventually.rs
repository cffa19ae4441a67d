use std::{
    panic::Location,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

/// Generous, because tests share two cores; a passing test never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Waits until `condition` holds, 30 s at most, and panics with `what` if it never does.
#[track_caller]
pub fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    within(PATIENCE, what, condition)
}

/// Like [`eventually`], with a limit of the caller's.
#[track_caller]
pub fn within(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    poll(limit, what, async move || condition().await.then_some(()))
}

/// Waits until `find` finds something, 30 s at most, and panics with `what` if it never does.
#[track_caller]
pub fn eventually_some<T>(what: &str, find: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    poll(PATIENCE, what, find)
}

/// Waits until nothing is unfinished, and panics with what still was when the limit had passed.
pub async fn nothing_left(limit: Duration, mut unfinished: impl AsyncFnMut() -> Vec<String>) {
    let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        let left = unfinished().await;
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < limit, "not everything came to its end within {limit:?}: {left:#?}");
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

#[track_caller]
fn poll<T>(limit: Duration, what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        while began.elapsed() < limit {
            // A look that hangs is no better than one that says no.
            let look = timeout(limit.saturating_sub(began.elapsed()), find()).await;
            if let Ok(Some(found)) = look {
                return found;
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        panic!("not within {limit:?}: {what} ({caller})")
    }
}
