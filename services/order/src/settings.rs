use std::time::Duration;

use crate::catalogue::Catalogue;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// An order is canceled if nobody has told by then what becomes of its payment: 4 hours. Hours, not minutes: that others are away for one
    /// hour is nothing that should cost an order.
    pub answer_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { answer_within: Duration::from_hours(4) }
    }
}

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Ordering {
    pub(crate) settings: Settings,
    pub(crate) catalogue: Catalogue,
}
