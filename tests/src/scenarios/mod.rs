//! What people do with the shop, and what happens to it meanwhile.

mod edge;
mod events_sent;
mod history;
mod orders;
mod outages;
