//! The rules of the architecture as tests, and scenarios over the whole shop with a real broker, real databases and real clients.

#![cfg(test)]

mod browser;
mod buying;
mod crates;
mod events;
mod invariants;
mod lossy;
mod page;
mod promises;
mod protections;
mod sealing;
mod secrets;
mod shop;
mod stranger;
mod wire;

mod scenarios;
