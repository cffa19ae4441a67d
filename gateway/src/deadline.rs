//! How long a call may take.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// What the answer needs on its way to the client: at most this, and of short deadlines a tenth.
const MARGIN_MAX: Duration = Duration::from_millis(200);

/// The moment by which the gateway must have answered: a little before the client's own deadline, so that the client sees our answer and not
/// its clock's.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    asked: bool,
}

impl Deadline {
    /// From the client's `grpc-timeout`, cut to `max`; without one, `default`.
    pub fn read(headers: &HeaderMap, default: Duration, max: Duration) -> Self {
        let asked = serve::transport::timeout_in(headers);
        let timeout = asked.unwrap_or(default).min(max);
        Self { at: Instant::now() + timeout.saturating_sub(MARGIN_MAX.min(timeout / 10)), asked: asked.is_some() }
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
            let headers = timeout.map(|timeout| ("grpc-timeout".parse().unwrap(), timeout.parse().unwrap()));
            Deadline::read(&headers.into_iter().collect(), default, max).left()
        };
        assert_eq!(left(None), Duration::from_millis(14_800));
        assert_eq!(left(Some("1S")), Duration::from_millis(900));
        assert_eq!(left(Some("1H")), Duration::from_millis(59_800));
        assert_eq!(left(Some("nonsense")), Duration::from_millis(14_800));
    }
}
