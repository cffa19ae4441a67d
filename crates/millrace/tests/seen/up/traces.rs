use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serve::transport;
use tonic::{Request, Response, Status};

/// A receiver of traces, as Jaeger would be one.
#[derive(Clone)]
pub(crate) struct Traces {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    /// As it came over the wire, with all that `spans` leaves out.
    raw: Arc<Mutex<Vec<u8>>>,
}

/// A span as it was exported.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) failed: bool,
    pub(crate) trace_id: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    /// The spans that it is linked to.
    pub(crate) links: Vec<Vec<u8>>,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Traces {
    pub(crate) fn receive() -> Self {
        let (incoming, address) = transport::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let traces = Self { address, spans: Arc::default(), raw: Arc::default() };
        let mut server = transport::server(&transport::Limits::INTERNAL, None).unwrap();
        let server = server.add_service(TraceServiceServer::new(traces.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        traces
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn of(&self, trace_id: &[u8]) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }

    pub(crate) fn named(&self, name: &str) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }

    pub(crate) fn raw(&self) -> Vec<u8> {
        self.raw.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl TraceService for Traces {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        self.raw.lock().unwrap().extend(prost::Message::encode_to_vec(&request));
        for resource_spans in request.resource_spans {
            let resource = attributes(resource_spans.resource.unwrap().attributes);
            let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().unwrap().extend(spans.map(|span| Span {
                service: resource["service.name"].clone(),
                kind: span.kind(),
                failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
                name: span.name,
                trace_id: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
                links: span.links.into_iter().map(|Link { span_id, .. }| span_id).collect(),
                attributes: attributes(span.attributes),
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: AnyValue| match value.value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    list.into_iter().map(|attribute| (attribute.key, text(attribute.value.unwrap()))).collect()
}

/// What is below a span, line by line, siblings by their names.
pub(crate) fn tree(spans: &[Span], parent: &[u8]) -> String {
    let mut text = String::new();
    draw(&mut text, spans, parent, 0);
    text
}

fn draw(text: &mut String, spans: &[Span], parent: &[u8], depth: usize) {
    let mut children: Vec<_> = spans.iter().filter(|span| span.parent == parent).collect();
    children.sort_by(|one, other| one.name.cmp(&other.name));
    for child in children {
        let Span { service, name, kind, .. } = child;
        let kind = kind.as_str_name().trim_start_matches("SPAN_KIND_").to_lowercase();
        let failed = if child.failed { ", failed" } else { "" };
        writeln!(text, "{:indent$}{service}: {name} ({kind}{failed})", "", indent = depth * 2).unwrap();
        draw(text, spans, &child.id, depth + 1);
    }
}
