use std::time::Duration;

use tokio::time::Instant;

/// The pause after a first attempt. It doubles with each further one.
const DELAY_MIN: Duration = Duration::from_millis(50);

/// The longest pause, and so the longest that a peer is back unnoticed.
const DELAY_MAX: Duration = Duration::from_secs(2);

/// After so long without an attempt, the next is the first again: the last connection was a good one, or nobody called.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// When the next attempt to connect may be made.
///
/// Attempts count, not failures: a peer that accepts connections and drops them at once must not be hammered either. A good connection lasts,
/// so the attempt after it is free. It is the same for brokers and for services: tonic by itself tries again at once, and async-nats without
/// jitter and from the beginning after each greeting.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
    last: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    /// Takes an attempt, or says how long to wait for the next. `chance`, from 0 to 1, spreads those who lost the same peer at the same time.
    pub fn attempt(&mut self, now: Instant, chance: f64) -> Result<(), Duration> {
        if let Some(last) = self.last {
            let since = now.duration_since(last);
            if since < self.pause {
                return Err(self.pause.saturating_sub(since));
            }
            self.attempts = if since < FORGET_AFTER { self.attempts } else { 0 };
        }
        let longest = DELAY_MIN.saturating_mul(1 << self.attempts.min(16)).min(DELAY_MAX);
        self.pause = longest.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        self.attempts += 1;
        self.last = Some(now);
        Ok(())
    }

    /// The same for who waits in any case: how long, until the attempt that is hereby taken. Even a free one is put off a little: a broker is
    /// lost by all its clients at once.
    pub fn wait(&mut self, now: Instant, chance: f64) -> Duration {
        let Err(pause) = self.attempt(now, chance) else {
            return DELAY_MIN.mul_f64(chance.clamp(0.0, 1.0));
        };
        let _taken = self.attempt(now + pause, chance);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts_during(backoff: &mut Backoff, from: Instant, seconds: u64) -> usize {
        (0..seconds * 1000).filter(|ms| backoff.attempt(from + Duration::from_millis(*ms), 0.0).is_ok()).count()
    }

    #[test]
    fn an_outage_costs_few_attempts_however_many_calls_there_are() {
        let attempts = attempts_during(&mut Backoff::default(), Instant::now(), 60);
        assert!((60..=70).contains(&attempts), "{attempts}");
    }

    #[test]
    fn the_pause_grows_to_its_limit_and_is_spread_by_chance() {
        let (mut early, mut late, mut now) = (Backoff::default(), Backoff::default(), Instant::now());
        for _ in 0..20 {
            now += DELAY_MAX;
            early.attempt(now, 0.0).unwrap();
            late.attempt(now, 1.0).unwrap();
        }
        assert_eq!(early.attempt(now, 0.0), Err(DELAY_MAX / 2));
        assert_eq!(late.attempt(now, 1.0), Err(DELAY_MAX));
    }

    #[test]
    fn who_waits_makes_as_few_attempts() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let (mut now, mut attempts) = (start, 0);
        while now < start + Duration::from_mins(1) {
            now += backoff.wait(now, 0.0);
            attempts += 1;
        }
        assert!((60..=70).contains(&attempts), "{attempts}");
        assert_eq!(backoff.wait(now + FORGET_AFTER, 1.0), DELAY_MIN);
    }

    #[test]
    fn after_a_good_connection_the_first_attempt_is_free() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        attempts_during(&mut backoff, start, 5);
        let later = start + Duration::from_secs(5) + FORGET_AFTER;
        assert_eq!(backoff.attempt(later, 0.0), Ok(()));
        assert_eq!(backoff.attempt(later + DELAY_MIN, 0.0), Ok(()));
    }
}
