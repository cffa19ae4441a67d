//! The ledger's tables: each module is one table, and the few statements that are ever made on it.

pub(crate) mod cursor;
pub(crate) mod dropped;
pub(crate) mod effect;
pub(crate) mod event_log;
pub(crate) mod followed_log;
pub(crate) mod head;
pub(crate) mod log;
pub(crate) mod parked;
pub(crate) mod receipt;
pub(crate) mod subscription;
pub(crate) mod timer;
pub(crate) mod writes;
