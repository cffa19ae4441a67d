//! The rules of the architecture as tests, and scenarios over the whole shop with a real broker, real databases and real clients.

#![cfg(test)]

mod crates;
mod events;
mod secrets;
mod shop;

mod scenarios;
