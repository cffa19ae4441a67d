//! What can be seen of a shop at work, and what must not be: the real binary, its log lines, its traces, and all that it leaves behind.
#![cfg(test)]

mod canary;
mod metrics;
mod operator;
mod trace;
mod up;
