use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses that are remembered at once, some 10 MB. Beyond that all are forgotten whose connections have ended: an attacker with that many
/// addresses is another layer's affair.
const ADDRESSES_MAX: usize = 65_536;

/// The paces of all addresses. One outlives its connections, or who comes back would begin afresh.
#[derive(Debug)]
pub(super) struct Paces {
    per_second: u32,
    by_address: Mutex<HashMap<IpAddr, Arc<Pace>>>,
}

impl Paces {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, by_address: Mutex::default() }
    }

    /// That of this [`network`](super::network).
    pub(super) fn of(&self, address: IpAddr) -> Arc<Pace> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if by_address.len() >= ADDRESSES_MAX && !by_address.contains_key(&address) {
            by_address.retain(|_, pace| Arc::strong_count(pace) > 1);
        }
        Arc::clone(by_address.entry(address).or_insert_with(|| Arc::new(Pace::new(self.per_second))))
    }
}

/// How much one address may have us read.
///
/// HTTP/2 bounds what a peer keeps here, and not what it makes us do: PING, SETTINGS, PRIORITY and calls that are refused cost nothing but
/// their bytes, and some of them ten at a time keep a core busy for ever. Who sends more than this is read later, which TCP tells it.
#[derive(Debug)]
pub struct Pace {
    /// 0 means without limit.
    per_second: u32,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    /// Below zero, it is to be waited for.
    bytes: f64,
    at: Instant,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { per_second, left: Mutex::new(Left { bytes: 2.0 * f64::from(per_second), at: Instant::now() }) }
    }

    /// Uses up so many bytes, whether or not they are left. Nobody comes to owe more than a second's.
    pub fn charge(&self, bytes: u32) {
        if self.per_second > 0 {
            let mut left = self.refilled();
            left.bytes = (left.bytes - f64::from(bytes)).max(-f64::from(self.per_second));
        }
    }

    /// How long nothing more may be read; None if it may be.
    pub(super) fn wait(&self) -> Option<Duration> {
        let owed = -self.refilled().bytes;
        (owed > 0.0).then(|| Duration::from_secs_f64(owed / f64::from(self.per_second)))
    }

    fn refilled(&self) -> std::sync::MutexGuard<'_, Left> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, per_second) = (Instant::now(), f64::from(self.per_second));
        let bytes = left.bytes + now.duration_since(left.at).as_secs_f64() * per_second;
        *left = Left { bytes: bytes.min(2.0 * per_second), at: now };
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_beyond_two_seconds_worth_is_waited_for() {
        let pace = Pace::new(1000);
        pace.charge(2000);
        assert_eq!(pace.wait(), None);
        pace.charge(500);
        assert_eq!(pace.wait(), Some(Duration::from_millis(500)));
        pace.charge(100_000);
        assert_eq!(pace.wait(), Some(Duration::from_secs(1)), "nobody waits for longer");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.wait(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_of_0_is_no_limit() {
        let pace = Pace::new(0);
        pace.charge(u32::MAX);
        assert_eq!(pace.wait(), None);
    }

    #[tokio::test]
    async fn an_address_that_comes_back_is_known() {
        let paces = Paces::new(1000);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        paces.of(one).charge(3000);
        assert!(paces.of(one).wait().is_some());
        assert_eq!(paces.of(other).wait(), None);
    }
}
