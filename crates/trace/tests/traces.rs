//! One trace goes on wherever its context is carried, and its spans have the conventions' names.

#![cfg(test)]

use event::TraceContext;
use millrace_trace as trace;
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tonic::Code;
use tonic::metadata::MetadataMap;
use tracing_subscriber::layer::SubscriberExt;

const METHOD: &str = "millrace.order.v1.OrderService/PlaceOrder";
const MESSAGE: trace::span::Message<'_> = trace::span::Message {
    template: "millrace.evt.order.order.order-created",
    subject: "test.evt.order.order.order-created.AaICh3v5hqDoYIDG12Y78g",
    id: "0197",
    command_id: Some("AaICh3v5hqDoYIDG12Y78g"),
    key: Some("order/AaICh3v5hqDoYIDG12Y78g"),
};
const DELIVERED: trace::span::Delivered<'_> =
    trace::span::Delivered { server: BROKER, stream: "test_evt_order", sequence: 7, times: 2 };
/// As an operator may write it.
const BROKER: &str = "nats://somebody:secret@nats:4222";

/// What `work` left behind, in the order in which it ended.
fn spans_of(work: impl FnOnce()) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    exporter.get_finished_spans().unwrap()
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    span.attributes.iter().find(|a| a.key.as_str() == name).map(|a| a.value.to_string())
}

#[test]
fn a_span_that_follows_a_stored_context_is_a_child_in_the_same_trace() {
    let spans = spans_of(|| {
        let stored = trace::span::rpc_server(METHOD).in_scope(trace::current);
        let later = trace::span::publish(&MESSAGE, BROKER);
        trace::follow(&later, &stored);
        later.in_scope(|| {});
    });
    let [call, publish] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(publish.span_context.trace_id(), call.span_context.trace_id());
    assert_eq!(publish.parent_span_id, call.span_context.span_id());
}

#[test]
fn a_context_crosses_a_call_in_its_metadata() {
    let spans = spans_of(|| {
        let mut metadata = MetadataMap::new();
        trace::span::rpc_client(METHOD, "http://order:7403").in_scope(|| trace::inject(&mut metadata));
        let answering = trace::span::rpc_server(METHOD);
        trace::follow(&answering, &trace::extract(&metadata));
        answering.in_scope(|| {});
    });
    let [asking, answering] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(answering.parent_span_id, asking.span_context.span_id());
    assert_eq!((&asking.span_kind, &answering.span_kind), (&SpanKind::Client, &SpanKind::Server));
}

#[test]
fn injecting_replaces_what_a_client_had_sent() {
    let mut metadata = MetadataMap::new();
    metadata.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
    metadata.insert("tracestate", "vendor=1".parse().unwrap());
    trace::inject(&mut metadata);
    assert_eq!(trace::extract(&metadata), TraceContext::default());
}

#[test]
fn a_malformed_or_endless_context_starts_a_trace_of_its_own() {
    let spans = spans_of(|| {
        for text in ["", "nonsense", "00-00000000000000000000000000000000-0000000000000000-01"] {
            let span = trace::span::rpc_server(METHOD);
            trace::follow(&span, &TraceContext { traceparent: text.into(), ..TraceContext::default() });
            span.in_scope(|| {});
        }
    });
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| span.span_context.is_valid() && span.parent_span_id == 0.into()));

    let mut metadata = MetadataMap::new();
    metadata.insert("tracestate", "x".repeat(513).parse().unwrap());
    assert_eq!(trace::extract(&metadata), TraceContext::default());
}

#[test]
fn a_link_names_a_cause_without_joining_its_trace() {
    let spans = spans_of(|| {
        let cause = trace::span::rpc_server(METHOD).in_scope(trace::current);
        let linked = trace::span::process(&MESSAGE, "billing_orders", None);
        trace::link(&linked, &cause);
        trace::link(&linked, &TraceContext::default());
        linked.in_scope(|| {});
    });
    let [cause, linked] = spans.as_slice() else { panic!("{spans:?}") };
    assert_ne!(linked.span_context.trace_id(), cause.span_context.trace_id());
    assert_eq!(
        linked.links.iter().map(|link| link.span_context.span_id()).collect::<Vec<_>>(),
        [cause.span_context.span_id()]
    );
}

#[test]
fn what_came_by_the_broker_is_a_child_of_what_published_it_and_linked_to_it() {
    let spans = spans_of(|| {
        let published = trace::span::publish(&MESSAGE, BROKER).in_scope(trace::current);
        let taken = trace::span::process(&MESSAGE, "billing_orders", None);
        trace::go_on(&taken, &published);
        taken.in_scope(|| {});
    });
    let [published, taken] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(taken.parent_span_id, published.span_context.span_id());
    let links: Vec<_> = taken.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(links, [published.span_context.span_id()]);
    assert_eq!(attribute(taken, "messaging.nats.sequence"), None);
}

#[test]
fn spans_are_named_and_described_by_the_conventions() {
    let spans = spans_of(|| {
        trace::span::rpc_server(METHOD).in_scope(|| {});
        trace::span::publish(&MESSAGE, BROKER).in_scope(|| {});
        trace::span::process(&MESSAGE, "billing_orders", Some(DELIVERED)).in_scope(|| {});
    });
    let [call, publish, process] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(call.name, METHOD);
    assert_eq!(attribute(call, "rpc.method").as_deref(), Some(METHOD));
    assert_eq!(
        (publish.name.as_ref(), &publish.span_kind),
        ("publish millrace.evt.order.order.order-created", &SpanKind::Producer)
    );
    assert_eq!(attribute(publish, "messaging.operation.type").as_deref(), Some("send"));
    assert_eq!(
        (process.name.as_ref(), &process.span_kind),
        ("process millrace.evt.order.order.order-created", &SpanKind::Consumer)
    );
    let attributes = [
        ("messaging.consumer.group.name", "billing_orders"),
        ("messaging.message.id", MESSAGE.id),
        ("messaging.destination.template", MESSAGE.template),
        ("messaging.destination.name", MESSAGE.subject),
        ("messaging.message.conversation_id", "AaICh3v5hqDoYIDG12Y78g"),
        ("server.address", "nats"),
        ("server.port", "4222"),
        ("messaging.nats.stream", "test_evt_order"),
        ("messaging.nats.sequence", "7"),
        ("millrace.delivered", "2"),
        ("millrace.key", "order/AaICh3v5hqDoYIDG12Y78g"),
    ];
    for (name, value) in attributes {
        assert_eq!(attribute(process, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn a_refused_call_is_an_error_to_its_caller_but_not_of_its_server() {
    let spans = spans_of(|| {
        let server = trace::span::rpc_server(METHOD);
        trace::span::record_server(&server, Code::NotFound);
        server.in_scope(|| {});
        drop(server);
        let client = trace::span::rpc_client(METHOD, "http://order:7403");
        trace::span::record_client(&client, Code::NotFound);
        client.in_scope(|| {});
    });
    let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(attribute(server, "rpc.status_code").as_deref(), Some("NOT_FOUND"));
    assert_eq!((&server.status, attribute(server, "error.type")), (&Status::Unset, None));
    assert!(matches!(client.status, Status::Error { .. }));
    assert_eq!(attribute(client, "server.address").as_deref(), Some("order"));
    assert_eq!(attribute(client, "server.port").as_deref(), Some("7403"));
    assert_eq!(attribute(client, "error.type").as_deref(), Some("NOT_FOUND"));
}
