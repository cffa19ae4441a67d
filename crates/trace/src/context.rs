use event::TraceContext;
use event::headers::{TRACEPARENT, TRACESTATE};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::passing::{pass, passed};

/// The specification asks that 512 characters of state be passed on; a client gets no more of our headers and rows than that.
const STATE_LEN_MAX: usize = 512;

/// A `traceparent` of version 00 has 55 characters; later versions may be longer.
const PARENT_LEN_MAX: usize = 128;

/// The context of the current span, to be stored or sent with what the span causes. Empty outside any span.
///
/// Starts the span, so [`follow`] comes before it.
pub fn current() -> TraceContext {
    of(&Span::current())
}

/// The context of that span. Starts it, so [`follow`] comes before.
pub fn of(span: &Span) -> TraceContext {
    let mut carrier = Carrier::default();
    let context = passed(span).map_or_else(|| span.context(), |passed| Context::new().with_remote_span_context(passed));
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.0
}

/// Makes the span a child of `parent`, and so a part of its trace. An empty or malformed parent changes nothing.
///
/// Only possible before the span is first entered (or its context taken); later it does nothing.
pub fn follow(span: &Span, parent: &TraceContext) {
    let parent = context_of(parent);
    if parent.span().span_context().is_valid() && !pass(span, parent.span().span_context()) {
        // Fails where no subscriber is set up, too, and then there is nothing to follow.
        let _ = span.set_parent(parent);
    }
}

/// Notes that `cause` had a part in the span, without making the span a part of that trace. An empty or malformed cause changes nothing.
pub fn link(span: &Span, cause: &TraceContext) {
    if passed(span).is_none() {
        span.add_link(context_of(cause).span().span_context().clone());
    }
}

/// Goes on with what was caused by `cause` and came by the broker: in the same trace, as its child. It is linked, too, as the conventions
/// for messaging want it, because a batch's messages may come from many traces.
pub fn go_on(span: &Span, cause: &TraceContext) {
    follow(span, cause);
    link(span, cause);
}

/// Puts the context of the current span into the metadata of a call.
pub fn inject(metadata: &mut MetadataMap) {
    let context = current();
    for (name, value) in [(TRACEPARENT, context.traceparent), (TRACESTATE, context.tracestate)] {
        metadata.remove(name);
        if let Some(value) = (!value.is_empty()).then(|| value.parse().ok()).flatten() {
            metadata.insert(name, value);
        }
    }
}

/// The context that a call brought. Empty if it brought none, or one that is longer than anybody needs.
pub fn extract(metadata: &MetadataMap) -> TraceContext {
    let text = |name: &str, len_max: usize| {
        let value = metadata.get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| value.len() <= len_max).unwrap_or_default().to_owned()
    };
    TraceContext { traceparent: text(TRACEPARENT, PARENT_LEN_MAX), tracestate: text(TRACESTATE, STATE_LEN_MAX) }
}

fn context_of(context: &TraceContext) -> Context {
    // Not from `Context::current()`: what has no valid parent of its own must not get the current span as one by accident.
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(context.clone()))
}

#[derive(Default)]
struct Carrier(TraceContext);

impl Injector for Carrier {
    fn set(&mut self, name: &str, value: String) {
        match name {
            TRACEPARENT => self.0.traceparent = value,
            TRACESTATE => self.0.tracestate = value,
            _ => {}
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            TRACEPARENT => Some(&self.0.traceparent),
            TRACESTATE => Some(&self.0.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}
