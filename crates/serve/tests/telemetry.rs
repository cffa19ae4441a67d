//! Traces reach whoever asked for them, role by role, and each log line says which trace it belongs to.

#![cfg(test)]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event::TraceContext;
use millrace_serve::telemetry::{Config, Error, Format, Otlp, Recorder, Telemetry};
use millrace_serve::transport;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use serde_json::Value;
use tonic::{Request, Response, Status};
use tracing::{Dispatch, dispatcher};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

const METHOD: &str = "millrace.order.v1.OrderService/PlaceOrder";
const BROKER: &str = "nats://nats:4222";
const MESSAGE: trace::span::Message<'_> = trace::span::Message {
    template: "millrace.evt.order.order.order-created",
    subject: "test.evt.order.order.order-created.AaICh3v5hqDoYIDG12Y78g",
    id: "0197",
    command_id: Some("AaICh3v5hqDoYIDG12Y78g"),
    key: Some("order/AaICh3v5hqDoYIDG12Y78g"),
};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn writer(&self) -> BoxMakeWriter {
        let lines = self.clone();
        BoxMakeWriter::new(move || lines.clone())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn build(config: Config) -> (Dispatch, Telemetry, Lines) {
    let lines = Lines::default();
    let (dispatch, telemetry) = Telemetry::build(config, lines.writer()).unwrap();
    (dispatch, telemetry, lines)
}

/// Works for a role as its own thread does.
fn as_role<T: Send>(dispatch: &Dispatch, role: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            trace::role::set(&Arc::from(role));
            dispatcher::with_default(dispatch, work)
        });
        thread.join().unwrap()
    })
}

/// A call that the gateway answers and order reacts to.
fn tell_a_story(dispatch: &Dispatch) -> TraceContext {
    let call = as_role(dispatch, "gateway", || trace::span::rpc_server(METHOD).in_scope(trace::current));
    as_role(dispatch, "order", || {
        let process = trace::span::process(&MESSAGE, "order_x", None);
        trace::follow(&process, &call);
        process.in_scope(|| {
            trace::span::publish(&MESSAGE, BROKER).in_scope(|| {});
            trace::span::record_failure(&trace::span::publish(&MESSAGE, BROKER), "timeout");
        });
    });
    call
}

#[test]
fn a_parent_and_a_child_over_a_stored_context_share_a_trace() {
    let recorder = Recorder::new(100);
    let (dispatch, ..) = build(Config { recorder: Some(recorder.clone()), ..Config::default() });
    let spans = recorder.spans(&tell_a_story(&dispatch));
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    let publish = "publish millrace.evt.order.order.order-created";
    assert_eq!(names, [METHOD, "process millrace.evt.order.order.order-created", publish, publish]);
    assert_eq!(spans[1].parent_span_id, spans[0].span_context.span_id());
}

#[test]
fn a_trace_is_drawn_as_a_tree() {
    let recorder = Recorder::new(100);
    let (dispatch, ..) = build(Config { recorder: Some(recorder.clone()), ..Config::default() });
    let tree = recorder.tree(&tell_a_story(&dispatch));
    let lines: Vec<_> = tree.lines().map(|line| line.split("  +").next().unwrap()).collect();
    let expected = [
        "[gateway] millrace.order.v1.OrderService/PlaceOrder (answered)",
        "└─ [order] process millrace.evt.order.order.order-created",
        "   ├─ [order] publish millrace.evt.order.order.order-created",
        "   └─ [order] publish millrace.evt.order.order.order-created",
    ];
    assert_eq!(lines, expected);
    assert!(tree.ends_with("FAILED\n"), "{tree}");
}

#[test]
fn a_recorder_keeps_the_last_spans_only() {
    let recorder = Recorder::new(2);
    let (dispatch, ..) = build(Config { recorder: Some(recorder.clone()), ..Config::default() });
    assert_eq!(recorder.spans(&tell_a_story(&dispatch)).len(), 2);
}

#[test]
fn a_log_line_as_json_carries_its_trace_and_role() {
    let (dispatch, _telemetry, lines) = build(Config { format: Format::Json, ..Config::default() });
    let call = as_role(&dispatch, "order", || {
        tracing::info!("outside");
        trace::span::rpc_server(METHOD).in_scope(|| {
            tracing::warn!(attempts = 3, reason = "busy", level = "mine", "retrying");
            trace::current()
        })
    });
    let lines = lines.json();
    let [outside, inside] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(outside.get("trace_id"), None);
    assert_eq!((&outside["role"], &outside["message"]), (&"order".into(), &"outside".into()));
    let (trace_id, span_id) = (inside["trace_id"].as_str().unwrap(), inside["span_id"].as_str().unwrap());
    assert!(call.traceparent.starts_with(&format!("00-{trace_id}-{span_id}-")), "{}", call.traceparent);
    assert_eq!((&inside["attempts"], &inside["reason"], &inside["level"]), (&3.into(), &"busy".into(), &"WARN".into()));
}

#[test]
fn a_log_line_says_which_aggregate_and_which_command_it_is_about_however_quiet_the_log_is() {
    let (dispatch, _telemetry, lines) =
        build(Config { filter: "error".into(), format: Format::Json, ..Config::default() });
    as_role(&dispatch, "order", || {
        let call = trace::span::rpc_server(METHOD);
        trace::span::record_command(&call, "AaICh3v5hqDoYIDG12Y78g");
        call.in_scope(|| {
            tracing::error!("within the call");
            trace::span::process(&MESSAGE, "order_x", None).in_scope(|| tracing::error!(key = "mine", "within both"));
        });
    });
    let lines = lines.json();
    let [call, both] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((call.get("key"), &call["command_id"]), (None, &"AaICh3v5hqDoYIDG12Y78g".into()));
    // What the line says itself goes before what its span says.
    assert_eq!((&both["key"], &both["command_id"]), (&"mine".into(), &"AaICh3v5hqDoYIDG12Y78g".into()));
}

#[test]
fn a_log_line_for_people_carries_its_trace_too() {
    let (dispatch, _telemetry, lines) = build(Config::default());
    let call = as_role(&dispatch, "order", || {
        trace::span::rpc_server(METHOD).in_scope(|| {
            tracing::info!(attempts = 3, "retrying");
            trace::current()
        })
    });
    let (line, trace_id) = (lines.text(), &call.traceparent[3..35]);
    assert!(line.contains(" INFO order telemetry: retrying attempts=3 trace_id="), "{line}");
    assert!(line.contains(trace_id) && line.ends_with('\n') && !line.contains('\x1b'), "{line}");
}

#[test]
fn a_quiet_filter_leaves_the_traces_alone() {
    let recorder = Recorder::new(100);
    let config = Config { filter: "error".into(), recorder: Some(recorder.clone()), ..Config::default() };
    let (dispatch, _telemetry, lines) = build(config);
    assert_eq!(recorder.spans(&tell_a_story(&dispatch)).len(), 4);
    dispatcher::with_default(&dispatch, || {
        tracing::info!("too quiet");
        trace::span::rpc_server(METHOD).in_scope(|| tracing::error!("loud"));
    });
    assert!(lines.text().contains("loud trace_id=") && !lines.text().contains("too quiet"), "{}", lines.text());
}

#[test]
fn with_nobody_to_tell_a_callers_trace_goes_on_as_it_came() {
    let (dispatch, ..) = build(Config::default());
    let caller = TraceContext {
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        tracestate: "vendor=1".into(),
    };
    let ours = dispatcher::with_default(&dispatch, || {
        let span = trace::span::rpc_server(METHOD);
        trace::follow(&span, &caller);
        span.in_scope(|| trace::span::publish(&MESSAGE, BROKER).in_scope(trace::current))
    });
    // A span of ours in between would be one that the caller's trace lacks for ever.
    assert_eq!(ours, caller);
}

#[test]
fn what_libraries_say_of_each_byte_is_never_written() {
    let (dispatch, _telemetry, lines) = build(Config { filter: "trace".into(), ..Config::default() });
    dispatcher::with_default(&dispatch, || {
        tracing::trace!(target: "h2::hpack::decoder", "authorization: Bearer token");
        tracing::trace!(target: "millrace_order", "our own");
        tracing::debug!(target: "h2::client", "connected");
    });
    let text = lines.text();
    assert!(!text.contains("token") && text.contains("our own") && text.contains("connected"), "{text}");
}

#[test]
fn a_filter_that_cannot_be_read_is_named() {
    let config = Config { filter: "millrace=loud".into(), ..Config::default() };
    let error = Telemetry::build(config, Lines::default().writer()).unwrap_err();
    assert!(matches!(&error, Error::Filter { value, .. } if value == "millrace=loud"), "{error}");
}

#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    /// Each span with the service that it is said to be of.
    fn spans(&self) -> Vec<(String, String)> {
        let requests = self.0.lock().unwrap();
        let mut spans = Vec::new();
        for resource_spans in requests.iter().flat_map(|request| &request.resource_spans) {
            let attributes = &resource_spans.resource.as_ref().unwrap().attributes;
            let service = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
            let service = format!("{:?}", service.value);
            for span in resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans) {
                spans.push((service.clone(), span.name.clone()));
            }
        }
        spans
    }
}

#[tokio::test]
async fn each_role_is_exported_as_a_service_of_its_own() {
    let receiver = Receiver::default();
    let (incoming, address) = transport::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut server = transport::server(&transport::Limits::INTERNAL, None).unwrap();
    let server = server.add_service(TraceServiceServer::new(receiver.clone()));
    tokio::spawn(server.serve_with_incoming(incoming));

    let otlp = Otlp { endpoint: format!("http://{address}"), authority: None };
    let (dispatch, telemetry, _) =
        build(Config { otlp: Some(otlp), roles: vec!["order".into(), "gateway".into()], ..Config::default() });
    tell_a_story(&dispatch);
    dispatcher::with_default(&dispatch, || trace::span::rpc_client(METHOD, "http://order:7403").in_scope(|| {}));
    telemetry.flush().await;

    let spans = receiver.spans();
    let count = |service: &str| spans.iter().filter(|(name, _)| name.contains(&format!("{service:?}"))).count();
    assert_eq!((count("gateway"), count("order"), count("millrace")), (1, 3, 1), "{spans:?}");
    telemetry.shutdown().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_receiver_that_is_not_there() {
    let (incoming, address) = transport::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    drop(incoming);
    let otlp = Otlp { endpoint: format!("http://{address}"), authority: None };
    let (dispatch, telemetry, _) = build(Config { otlp: Some(otlp), ..Config::default() });
    tell_a_story(&dispatch);
    tokio::time::timeout(Duration::from_secs(20), telemetry.shutdown()).await.unwrap();
}
