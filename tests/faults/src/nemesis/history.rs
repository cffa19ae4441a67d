use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Register,
    AddCard,
    Place,
    /// Under an idempotency key that was answered before.
    PlaceAgain,
    /// The same, with other content.
    PlaceOther,
    Cancel,
    Read,
    /// What became of a command that was only ACCEPTED.
    Wait,
}

/// What is known of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It begins.
    Invoke,
    /// It was answered, or refused as it should be.
    Ok,
    /// It was refused, and should not have been.
    Fail,
    /// Nobody knows: it may have happened, or may still.
    Info,
}

/// How far a command is, as its customer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Told {
    Accepted,
    Completed,
    Rejected,
    Failed,
    Unknown,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Milliseconds since the run began.
    pub at: u64,
    pub customer: usize,
    pub asked: Asked,
    pub what: What,
    pub gateway: usize,
    /// The idempotency key, unique over all customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The id of the command, as its receipt tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    /// All of the answer, but for whether it was repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What it is about: an order, a payment method, a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The newest revision that a read has to show, and the one that it showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<(i64, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Entry {
    pub fn of(customer: usize, asked: Asked, what: What, gateway: usize) -> Self {
        Self {
            at: 0,
            customer,
            asked,
            what,
            gateway,
            key: None,
            command: None,
            told: None,
            answer: None,
            about: None,
            revisions: None,
            error: None,
        }
    }
}

/// All calls and their answers, in the order in which they happened; also in a file, a line of JSON each.
#[derive(Debug)]
pub struct History {
    began: Instant,
    written: Mutex<(Vec<Entry>, BufWriter<File>)>,
}

impl History {
    pub fn begin(file: &Path) -> Self {
        let file = BufWriter::new(File::create(file).expect("the history's folder is writable"));
        Self { began: Instant::now(), written: Mutex::new((Vec::new(), file)) }
    }

    /// Milliseconds since it began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn note(&self, entry: Entry) {
        let mut written = self.written.lock().unwrap();
        // Under the lock, so that the order of lines is that of their times.
        let entry = Entry { at: self.now(), ..entry };
        let line = serde_json::to_string(&entry).unwrap();
        writeln!(written.1, "{line}").unwrap();
        written.0.push(entry);
    }

    /// All of it so far.
    pub fn entries(&self) -> Vec<Entry> {
        let mut written = self.written.lock().unwrap();
        written.1.flush().unwrap();
        written.0.clone()
    }
}
