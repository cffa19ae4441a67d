//! What people do with the shop, and what happens to it meanwhile.

mod backdoor;
mod browser;
mod deadlines;
mod edge;
mod events_sent;
mod forgeries;
mod healing;
mod history;
mod identity;
mod limits;
mod money;
mod operator;
mod orders;
mod outages;
mod read_your_writes;
mod retries;
mod rolling;
mod stream;
mod tokens;
mod versions;
mod watching;
mod web;
