//! Token buckets: how often one address or one principal may call.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use event::Micros;
use proto::rpc::quota_failure;

/// Buckets kept at once, some 3 MB. Beyond that the table starts afresh: an attacker with that many addresses is another layer's affair.
const BUCKETS_MAX: usize = 65_536;

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; 0 means without limit.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// Who has used up what may be done in a time.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    Address,
    /// Of an address: calls that anybody may make, which carry credentials.
    Attempts,
    Principal,
}

impl Whose {
    pub const ALL: [Self; 3] = [Self::Address, Self::Attempts, Self::Principal];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Attempts => "attempts",
            Self::Principal => "user",
        }
    }

    /// As clients are told.
    pub fn violation(self) -> quota_failure::Violation {
        let description = match self {
            Self::Address => "calls from one address",
            Self::Attempts => "attempts to register, to log in or to refresh a token from one address",
            Self::Principal => "calls of one user",
        };
        let (subject, description) = (self.name().to_owned(), description.to_owned());
        quota_failure::Violation { subject, description, ..quota_failure::Violation::default() }
    }
}

/// One bucket for each key.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Micros,
}

impl<K: Eq + Hash> Buckets<K> {
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes a token, or says after which time there is one.
    pub fn take(&self, key: K, now: Micros) -> Result<(), Duration> {
        if self.rate.per_second == 0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
            self.make_room(&mut buckets, now);
        }
        let full = Bucket { tokens: f64::from(self.rate.burst), at: now };
        let bucket = buckets.entry(key).or_insert(full);
        *bucket = Bucket { tokens: self.tokens(*bucket, now), at: now };
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / f64::from(self.rate.per_second)))
    }

    fn tokens(&self, bucket: Bucket, now: Micros) -> f64 {
        let refilled = now.since(bucket.at).as_secs_f64() * f64::from(self.rate.per_second);
        (bucket.tokens + refilled).min(f64::from(self.rate.burst))
    }

    /// A full bucket says no more than none. If that frees less than half, looking again at each call would cost more than it protects.
    fn make_room(&self, buckets: &mut HashMap<K, Bucket>, now: Micros) {
        buckets.retain(|_, bucket| self.tokens(*bucket, now) < f64::from(self.rate.burst));
        if buckets.len() > BUCKETS_MAX / 2 {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_the_rate_decides() {
        let buckets = Buckets::new(Rate { per_second: 2, burst: 3 });
        let start = Micros(1_000_000);
        for _ in 0..3 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        assert_eq!(buckets.take("a", start), Err(Duration::from_millis(500)));
        assert_eq!(buckets.take("b", start), Ok(()), "another's bucket is its own");
        assert_eq!(buckets.take("a", start.plus(Duration::from_millis(500))), Ok(()));
    }

    #[test]
    fn a_rate_of_0_is_no_limit() {
        let buckets = Buckets::new(Rate { per_second: 0, burst: 0 });
        assert!((0..1000).all(|_| buckets.take("a", Micros(0)).is_ok()));
    }

    #[test]
    fn the_table_is_bounded() {
        let buckets = Buckets::new(Rate { per_second: 1, burst: 1 });
        for key in 0..2 * BUCKETS_MAX {
            assert_eq!(buckets.take(key, Micros(0)), Ok(()));
        }
        assert!(buckets.buckets.lock().unwrap().len() <= BUCKETS_MAX);
    }
}
