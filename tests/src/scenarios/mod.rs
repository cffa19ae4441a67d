//! What people do with the shop, and what happens to it meanwhile.

mod backdoor;
mod edge;
mod events_sent;
mod history;
mod identity;
mod orders;
mod outages;
mod web;
