use std::fmt;

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// What a span is about, for the log lines that are written within it: whoever has an order's id finds them by it.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) key: Option<String>,
    pub(super) command_id: Option<String>,
}

/// Keeps with each span what it is about.
#[derive(Debug)]
pub(super) struct Abouts;

impl<S> Layer<S> for Abouts
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut about = About::default();
        attributes.record(&mut about);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(about);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(about) = span.extensions_mut().get_mut::<About>() {
            values.record(about);
        }
    }
}

impl About {
    /// As log lines have them.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'static str, String)> {
        [("key", self.key), ("command_id", self.command_id)].into_iter().filter_map(|(name, part)| Some((name, part?)))
    }

    fn field(&mut self, field: &Field) -> Option<&mut Option<String>> {
        match field.name() {
            "millrace.key" => Some(&mut self.key),
            "millrace.command_id" => Some(&mut self.command_id),
            _ => None,
        }
    }
}

impl Visit for About {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(part) = self.field(field) {
            *part = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if let Some(part) = self.field(field) {
            *part = Some(format!("{value:?}"));
        }
    }
}
