use event::{Id, Record, subject};
use trace::span::{Delivered, Message};
use tracing::Span;

use crate::Broker;

/// The span in which an event is published. None where nobody keeps spans: what goes wrong there concerns no handler.
pub(crate) fn publish_event(broker: &Broker, record: &Record) -> Span {
    if !trace::span::somebody_looks() {
        return Span::none();
    }
    of_event(&broker.namespace, record, |message| trace::span::publish(message, &broker.url))
}

/// The span in which a subscription takes an event in: from the stream, or, if nobody delivered it, from its owner's log. `group` is the
/// subscription's consumer.
pub fn process_event(namespace: &str, group: &str, record: &Record, delivered: Option<Delivered<'_>>) -> Span {
    of_event(namespace, record, |message| trace::span::process(message, group, delivered))
}

/// The span in which a command is put into its queue.
pub(crate) fn publish_command(broker: &Broker, method: &str, id: Id) -> Span {
    if !trace::span::somebody_looks() {
        return trace::span::unseen(Some(id), None::<Id>);
    }
    let (template, subject, id) = (
        subject::command_template(subject::NAMESPACE, method),
        subject::of_command(&broker.namespace, method, id),
        id.to_string(),
    );
    trace::span::publish(&of_command(&template, &subject, &id), &broker.url)
}

/// A command's aggregate is its owner's to tell.
pub(crate) const fn of_command<'m>(template: &'m str, subject: &'m str, id: &'m str) -> Message<'m> {
    Message { template, subject, id, command_id: Some(id), key: None }
}

fn of_event(namespace: &str, record: &Record, span: impl FnOnce(&Message<'_>) -> Span) -> Span {
    if !trace::span::somebody_looks() {
        return trace::span::unseen(record.command_id, Some(&record.key));
    }
    let command_id = record.command_id.map(|id| id.to_string());
    span(&Message {
        template: &subject::event_template(subject::NAMESPACE, record.key.aggregate(), &record.type_name),
        subject: &subject::of_event(namespace, record),
        id: &record.id.to_string(),
        command_id: command_id.as_deref(),
        key: Some(&record.key.to_string()),
    })
}
