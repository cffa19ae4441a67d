//! What is measured of calls. The handles of a method are made once.

use std::sync::OnceLock;
use std::time::Duration;

use meter::{Counter, Histogram};
use tonic::Code;

/// The calls of one method.
pub struct Calls {
    method: String,
    seconds: Histogram,
    /// By the number of the code; made when it is met first.
    codes: [OnceLock<Counter>; Code::Unauthenticated as usize + 1],
}

impl Calls {
    pub fn of(method: &str) -> Self {
        let seconds = meter::CALL_SECONDS.histogram(&[method]);
        let calls = Self { method: method.to_owned(), seconds, codes: Default::default() };
        calls.counter(Code::Ok);
        calls
    }

    pub fn note(&self, code: Code, took: Duration) {
        self.counter(code).increment(1);
        self.seconds.record(took);
    }

    fn counter(&self, code: Code) -> &Counter {
        let make = || meter::CALLS.counter(&[&self.method, trace::span::code_name(code)]);
        self.codes[code as usize].get_or_init(make)
    }
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "calls of {}", self.method)
    }
}
