use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::Format;
use super::about::About;

/// Keeps nothing of spans: lines do not repeat their fields, and to format them all would cost more than the lines.
pub(super) struct NoFields;

impl FormatFields<'_> for NoFields {
    fn format_fields<R: RecordFields>(&self, _: Writer<'_>, _: R) -> fmt::Result {
        Ok(())
    }
}

/// Writes one line for each event, with the trace that it belongs to, and with what that is about. A span's other fields are not
/// repeated: the trace has them.
pub(super) struct Lines(pub Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // Entering a span makes its context OpenTelemetry's current one, unless nobody keeps spans.
        let span = context
            .lookup_current()
            .and_then(|span| trace::passed_by(&span))
            .unwrap_or_else(|| Context::map_current(|current| current.span().span_context().clone()));
        match self.0 {
            Format::Json => writeln!(line, "{}", json(event, &span, about(context))?),
            Format::Text => {
                head(&mut line, event)?;
                DefaultFields::new().format_fields(line.by_ref(), event)?;
                tail(&mut line, &span, about(context))
            }
        }
    }
}

/// The innermost span that is about something tells what.
fn about<S, N>(context: &FmtContext<'_, S, N>) -> About
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let mut about = About::default();
    for span in context.event_scope().into_iter().flatten() {
        if let Some(outer) = span.extensions().get::<About>() {
            about.key = about.key.or_else(|| outer.key.clone());
            about.command_id = about.command_id.or_else(|| outer.command_id.clone());
        }
    }
    about
}

fn json(event: &Event<'_>, span: &SpanContext, about: About) -> Result<Value, fmt::Error> {
    let mut line = Map::new();
    line.insert("time".into(), now()?.into());
    line.insert("level".into(), event.metadata().level().as_str().into());
    if let Some(role) = trace::role::current() {
        line.insert("role".into(), role.as_ref().into());
    }
    line.insert("target".into(), event.metadata().target().into());
    if span.is_valid() {
        line.insert("trace_id".into(), span.trace_id().to_string().into());
        line.insert("span_id".into(), span.span_id().to_string().into());
    }
    event.record(&mut Fields(&mut line));
    for (name, value) in about.fields() {
        line.entry(name).or_insert_with(|| value.into());
    }
    Ok(Value::Object(line))
}

fn head(line: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let (level, color) = match *event.metadata().level() {
        Level::ERROR => ("ERROR", "31"),
        Level::WARN => (" WARN", "33"),
        Level::INFO => (" INFO", "32"),
        Level::DEBUG => ("DEBUG", "34"),
        Level::TRACE => ("TRACE", "35"),
    };
    painted(line, "2", &now()?)?;
    line.write_char(' ')?;
    painted(line, color, level)?;
    line.write_char(' ')?;
    if let Some(role) = trace::role::current() {
        painted(line, "1", &role)?;
        line.write_char(' ')?;
    }
    painted(line, "2", event.metadata().target())?;
    line.write_str(": ")
}

fn tail(line: &mut Writer<'_>, span: &SpanContext, about: About) -> fmt::Result {
    for (name, value) in about.fields() {
        line.write_char(' ')?;
        painted(line, "2", &format!("{name}={value}"))?;
    }
    if span.is_valid() {
        line.write_char(' ')?;
        painted(line, "2", &format!("trace_id={} span_id={}", span.trace_id(), span.span_id()))?;
    }
    line.write_char('\n')
}

fn painted(line: &mut Writer<'_>, color: &str, text: &str) -> fmt::Result {
    if line.has_ansi_escapes() { write!(line, "\x1b[{color}m{text}\x1b[0m") } else { line.write_str(text) }
}

fn now() -> Result<String, fmt::Error> {
    let mut text = String::new();
    SystemTime.format_time(&mut Writer::new(&mut text))?;
    Ok(text)
}

/// The event's fields, `message` among them. What is ours in the line is not overwritten by a field of the same name.
struct Fields<'l>(&'l mut Map<String, Value>);

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.entry(field.name()).or_insert_with(|| value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}
