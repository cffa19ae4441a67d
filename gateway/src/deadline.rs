//! How long a call may take.

use std::time::Duration;

use http::{Extensions, Request};
use tokio::time::Instant;

/// What the answer needs on its way to the client: at most this, and of short deadlines a tenth.
const MARGIN_MAX: Duration = Duration::from_millis(200);

/// How long the client waits, and since when.
#[derive(Clone, Copy)]
struct Asked {
    timeout: Duration,
    since: Instant,
}

/// Notes when the client's time began, before anything else is done with the call.
///
/// Tonic's own timer for `grpc-timeout` stands outside of all our layers, where nothing can hide that header from it, and says CANCELLED. It
/// begins right after this, and is looked at right after the call's own future; so a timer of ours that counts from here is due no later,
/// and is asked first. One that counts from any later moment may be due a tick (a millisecond) after tonic's.
pub fn note<B>(mut request: Request<B>) -> Request<B> {
    if let Some(timeout) = serve::transport::timeout_in(request.headers()) {
        request.extensions_mut().insert(Asked { timeout, since: Instant::now() });
    }
    request
}

/// The moment by which the gateway must have answered: a little before the client's own deadline, so that the client sees our answer and not
/// its clock's.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    asked: bool,
}

impl Deadline {
    /// From the client's `grpc-timeout` as it was [noted](note), cut to `max`; without one, `default` from now on.
    pub fn read(extensions: &Extensions, default: Duration, max: Duration) -> Self {
        let asked = extensions.get::<Asked>();
        let (timeout, since) = asked.map_or_else(|| (default, Instant::now()), |asked| (asked.timeout, asked.since));
        let timeout = timeout.min(max);
        Self { at: since + timeout.saturating_sub(MARGIN_MAX.min(timeout / 10)), asked: asked.is_some() }
    }

    pub const fn at(self) -> Instant {
        self.at
    }

    /// Whether the client set it. A stream without one lasts as long as its session.
    pub const fn was_asked(self) -> bool {
        self.asked
    }

    /// What is left; zero if it has passed.
    pub fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_gateway_answers_before_the_client_gives_up() {
        let (default, max) = (Duration::from_secs(15), Duration::from_mins(1));
        let left = |timeout: Option<&'static str>| {
            let request =
                timeout.into_iter().fold(Request::builder(), |request, it| request.header("grpc-timeout", it));
            let request = request.body(()).unwrap();
            Deadline::read(note(request).extensions(), default, max).left()
        };
        assert_eq!(left(None), Duration::from_millis(14_800));
        assert_eq!(left(Some("1S")), Duration::from_millis(900));
        assert_eq!(left(Some("1H")), Duration::from_millis(59_800));
        assert_eq!(left(Some("nonsense")), Duration::from_millis(14_800));
    }
}
