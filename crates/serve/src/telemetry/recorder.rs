use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use event::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::export::ROLE;

/// Keeps the last spans that ended, to be looked at within the process.
#[derive(Clone, Debug)]
pub struct Recorder {
    spans: Arc<Mutex<VecDeque<SpanData>>>,
    size: usize,
}

impl Recorder {
    /// Keeps `size` spans at most; the oldest go first.
    pub fn new(size: usize) -> Self {
        Self { spans: Arc::default(), size }
    }

    /// The spans of one trace that have ended, by their start.
    pub fn spans(&self, trace: &TraceContext) -> Vec<SpanData> {
        // A traceparent is `<version>-<trace id>-<span id>-<flags>`.
        let wanted = trace.traceparent.split('-').nth(1).unwrap_or_default();
        let of_trace = |span: &&SpanData| span.span_context.trace_id().to_string() == wanted;
        let mut spans: Vec<_> = self.lock().iter().filter(of_trace).cloned().collect();
        spans.sort_by_key(|span| span.start_time);
        spans
    }

    /// The trace as a tree for people: what, by which role, when after the start, how long.
    pub fn tree(&self, trace: &TraceContext) -> String {
        Tree::new(self.spans(trace)).draw()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<SpanData>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpanProcessor for Recorder {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut spans = self.lock();
        if spans.len() >= self.size {
            spans.pop_front();
        }
        spans.push_back(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Tree {
    spans: Vec<SpanData>,
    ids: BTreeSet<[u8; 8]>,
    start: Option<SystemTime>,
}

impl Tree {
    fn new(spans: Vec<SpanData>) -> Self {
        let ids = spans.iter().map(|span| span.span_context.span_id().to_bytes()).collect();
        let start = spans.first().map(|span| span.start_time);
        Self { spans, ids, start }
    }

    fn draw(&self) -> String {
        let mut text = String::new();
        // A span whose parent is not here (a client's, or one that has not ended) stands at the top.
        for top in self.spans.iter().filter(|span| !self.ids.contains(&span.parent_span_id.to_bytes())) {
            self.line(&mut text, "", top);
            self.children(&mut text, "", top);
        }
        text
    }

    fn children(&self, text: &mut String, indent: &str, parent: &SpanData) {
        let children: Vec<_> = self.spans.iter().filter(|span| is_child(span, parent.span_context.span_id())).collect();
        for (n, child) in children.iter().enumerate() {
            let (branch, below) = if n + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.line(text, &format!("{indent}{branch}"), child);
            self.children(text, &format!("{indent}{below}"), child);
        }
    }

    fn line(&self, text: &mut String, indent: &str, span: &SpanData) {
        let millis =
            |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default().as_secs_f64() * 1000.0;
        let after = millis(self.start.unwrap_or(span.start_time), span.start_time);
        let lasted = millis(span.start_time, span.end_time);
        let role = span.attributes.iter().find(|attribute| attribute.key.as_str() == ROLE);
        let role = role.map(|role| format!("[{}] ", role.value.as_str())).unwrap_or_default();
        let failed = if matches!(span.status, Status::Error { .. }) { "  FAILED" } else { "" };
        let outcome = outcome(span).map(|outcome| format!(" → {outcome}")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{indent}{role}{}{}{outcome}  +{after:.1} ms, {lasted:.1} ms{failed}",
            span.name,
            kind(span)
        );
    }
}

/// What became of what was processed, unless it is what is expected.
fn outcome(span: &SpanData) -> Option<String> {
    let outcome = span.attributes.iter().find(|attribute| attribute.key.as_str() == "millrace.outcome")?;
    let outcome = outcome.value.as_str();
    (!["completed", "applied"].contains(&outcome.as_ref())).then(|| outcome.replace('_', " "))
}

fn is_child(span: &SpanData, parent: SpanId) -> bool {
    span.parent_span_id == parent
}

/// A call has two spans of the same name.
const fn kind(span: &SpanData) -> &'static str {
    match span.span_kind {
        SpanKind::Client => " (asked)",
        SpanKind::Server => " (answered)",
        _ => "",
    }
}
