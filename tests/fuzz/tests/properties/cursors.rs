//! A subscription and one key's log, by the rules of production's cursors: whatever comes, in whatever order and however often.

use bytes::Bytes;
use event::{History, Id, Key, Micros, Record, TraceContext};
use ledger::Means;
use ledger::rules::{Cursor, State, Verdict, judge, moved, noted};
use proptest::prelude::*;
use uuid::Uuid;

use crate::cases;

const TYPE: &str = "millrace.order.v1.OrderCreated";

/// A log of so many events, each with another body.
fn log(length: u8) -> Vec<Record> {
    let mut past = History::default();
    (1..=length)
        .map(|revision| {
            past = past.then(TYPE, &[revision]);
            record(revision.into(), past, Bytes::copy_from_slice(&[revision]))
        })
        .collect()
}

fn record(revision: i64, history: History, body: Bytes) -> Record {
    Record {
        id: Uuid::from_u128(1),
        source: Id::timed(1, [1; 10]),
        key: Key::new("order", Id::timed(2, [2; 10])),
        epoch: 1,
        revision,
        history,
        type_name: TYPE.to_owned(),
        body,
        time: Micros(revision),
        principal: String::new(),
        command_id: None,
        cause_id: None,
        trace: TraceContext::default(),
    }
}

/// The subscription, and which revisions its handler was given.
struct Reader {
    cursor: Cursor,
    handled: Vec<i64>,
}

impl Reader {
    fn new() -> Self {
        let cursor = Cursor {
            subscription: "s".to_owned(),
            key: "order".to_owned(),
            epoch: 0,
            revision: 0,
            history: vec![0; 16],
            state: State::Flowing,
            due: None,
            noted: 0,
            attempts: 0,
            reason: None,
            dropped: 0,
        };
        Self { cursor, handled: Vec::new() }
    }

    /// As the ledger does it, with the parts that need a database left out.
    fn hear(&mut self, record: &Record, means: Means) -> Verdict {
        let verdict = judge(&self.cursor, record, means);
        let cursor = self.cursor.clone();
        self.cursor = match verdict {
            Verdict::Apply => {
                self.handled.push(record.revision);
                moved(cursor, record, Micros(0))
            }
            Verdict::Duplicate | Verdict::Gap => cursor,
            Verdict::Note => noted(cursor, record),
            Verdict::Wait => Cursor { state: State::Waiting, ..noted(cursor, record) },
            Verdict::Compare => Cursor { state: State::Comparing, ..noted(cursor, record) },
        };
        verdict
    }

    /// What is missing is read from the owner, once the stream has been waited for.
    fn heal(&mut self, log: &[Record]) {
        if let Some(last) = log.last() {
            self.hear(last, Means::StreamLate);
        }
        if self.cursor.state == State::Waiting {
            let from = usize::try_from(self.cursor.revision).unwrap();
            for record in &log[from..] {
                self.hear(record, Means::Log { epoch: 1, absent: false });
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Happens {
    Comes { which: prop::sample::Index, late: bool },
    Healed,
}

fn happens() -> impl Strategy<Value = Happens> {
    let comes = (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, late)| Happens::Comes { which, late });
    prop_oneof![9 => comes, 1 => Just(Happens::Healed)]
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn whatever_comes_each_revision_is_handled_once_and_in_order(
        length in 1..12_u8, happens in prop::collection::vec(happens(), 0..60),
    ) {
        let (log, mut reader) = (log(length), Reader::new());
        for one in happens {
            match one {
                Happens::Healed => reader.heal(&log),
                Happens::Comes { which, late } => {
                    let means = if late { Means::StreamLate } else { Means::Stream };
                    let verdict = reader.hear(which.get(&log), means);
                    prop_assert_ne!(verdict, Verdict::Compare, "the log has one past");
                }
            }
            let begun: Vec<i64> = (1..=reader.cursor.revision).collect();
            prop_assert_eq!(&reader.handled, &begun);
            let (flows, more) = (reader.cursor.state == State::Flowing, reader.cursor.noted > reader.cursor.revision);
            prop_assert!(!(flows && more), "what was noted is waited for");
        }
        reader.heal(&log);
        prop_assert_eq!(reader.cursor.revision, i64::from(length), "it comes to the end");
        prop_assert_eq!(reader.cursor.state, State::Flowing);
    }

    /// By whatever way it comes: what does not follow from what was applied is compared with the owner's log.
    #[test]
    fn an_event_of_another_past_is_never_applied(
        length in 0..6_u8, history: [u8; 16], revision in 1..10_i64, epoch in 1..3_i64, means in 0..3_u8,
    ) {
        let (log, mut reader) = (log(length), Reader::new());
        for record in &log {
            reader.hear(record, Means::Stream);
        }
        let forged = Record { epoch, ..record(revision, History(history), Bytes::from_static(b"forged")) };
        let means = [Means::Stream, Means::StreamLate, Means::Log { epoch: 1, absent: false }][usize::from(means)];
        let verdict = reader.hear(&forged, means);
        prop_assert_ne!(verdict, Verdict::Apply);
        prop_assert_eq!(reader.handled.len(), log.len());
    }
}
