//! Events as they are read from another service's log, and the same bytes as an operator is shown them.

use event::{Micros, Record, Schema, to_json};
use proto::Message as _;
use proto::eventlog::v1::RecordedEvent;

use super::envelopes;
use crate::Target;

pub(crate) const TARGET: Target = Target { name: "records", seeds, feed, short: 10_000 };

thread_local! {
    static SCHEMA: Schema = Schema::embedded().unwrap();
}

fn feed(input: &[u8]) {
    let Ok(sent) = RecordedEvent::decode(input) else { return };
    let shown = SCHEMA.with(|schema| to_json(schema, &sent.r#type, &sent.body));
    assert!(shown.is_none_or(|shown| shown.is_object()));
    match Record::try_from(sent) {
        Ok(record) => envelopes::holds(&record),
        Err(error) => assert!(error.to_string().len() < 100, "{error}"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let good = envelopes::record();
    let bare = Record { command_id: None, cause_id: None, time: Micros(0), ..good.clone() };
    [good, bare].map(|record| RecordedEvent::from(record).encode_to_vec()).to_vec()
}
