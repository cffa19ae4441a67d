use std::time::Duration;

/// How long each of many things took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// The duration that this share of them, 0 to 1, does not exceed, in milliseconds. None of nothing.
    pub(crate) fn ms(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "an index below the length"
        )]
        let index = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(index).map(|duration| duration.as_secs_f64() * 1000.0)
    }

    pub(crate) fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }
}

impl Extend<Self> for Samples {
    fn extend<I: IntoIterator<Item = Self>>(&mut self, others: I) {
        self.0.extend(others.into_iter().flat_map(|other| other.0));
    }
}
