//! The server around the edge: gRPC and gRPC-Web on one port, reflection and health.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::ServiceExt as _;
use tower::layer::util::Stack;
use tower::util::{MapRequest, MapRequestLayer};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use crate::deadline;
use crate::door::Door;
use crate::edge::Edge;
use crate::error::Error;

/// Browsers ask again after that long whether they may call.
const PREFLIGHT_GOOD_FOR: Duration = Duration::from_hours(1);

/// Health of the gateway (`""`) and of each public service.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    services: Vec<String>,
}

impl Health {
    pub(crate) async fn set(&self, status: ServingStatus) {
        for service in &self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

/// Everything that is served. `descriptors` is what reflection tells; `services` are those with a public method.
pub(crate) async fn routes(
    edge: Edge,
    descriptors: &[u8],
    services: impl IntoIterator<Item = String>,
) -> Result<(Routes, Health), Error> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health { reporter, services: std::iter::once(String::new()).chain(services).collect() };
    health.set(ServingStatus::Serving).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(descriptors)
    };
    let failed = |error: tonic_reflection::server::Error| Error::Reflection(error.to_string());
    let mut routes = Routes::new(health_service)
        .add_service(reflection().build_v1().map_err(failed)?)
        .add_service(reflection().build_v1alpha().map_err(failed)?);
    let door = {
        let gateway = Arc::clone(&edge.0);
        tower::layer::layer_fn(move |inner| Door { gateway: Arc::clone(&gateway), inner })
    };
    let router = std::mem::take(routes.axum_router_mut()).layer(door);
    let edge = edge.map_request(|request: http::Request<_>| request.map(Body::new));
    Ok((Routes::from(router.fallback_service(edge)), health))
}

/// What a request goes through before the routes: its time begins, a page's origin is looked at, and gRPC-Web becomes gRPC.
pub(crate) type Layers = Stack<Stack<GrpcWebLayer, CorsLayer>, MapRequestLayer<Note>>;

/// The routes in these layers.
pub type Served = MapRequest<Cors<GrpcWebService<Routes>>, Note>;

type Note = fn(http::Request<Body>) -> http::Request<Body>;

pub(crate) fn layers(origins: &[String]) -> Result<Layers, Error> {
    let note = MapRequestLayer::new(deadline::note as Note);
    Ok(Stack::new(Stack::new(GrpcWebLayer::new(), cors(origins)?), note))
}

/// Lets pages call over gRPC-Web: from the origins that are named, or from anywhere if that is `*`; without the browser's credentials.
fn cors(origins: &[String]) -> Result<CorsLayer, Error> {
    let origin = |text: &String| HeaderValue::from_str(text).map_err(|_| Error::Origin(text.clone()));
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().map(origin).collect::<Result<Vec<_>, _>>()?)
    };
    let names = |names: &[&'static str]| names.iter().map(|&name| HeaderName::from_static(name)).collect::<Vec<_>>();
    let own = [
        "idempotency-key",
        "consistency-token",
        "grpc-timeout",
        "x-grpc-web",
        "x-user-agent",
        "traceparent",
        "tracestate",
    ];
    let mut sent = names(&own);
    sent.extend([AUTHORIZATION, CONTENT_TYPE, ACCEPT_LANGUAGE]);
    Ok(CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::POST])
        .allow_headers(sent)
        .expose_headers(names(&["grpc-status", "grpc-message", "grpc-status-details-bin"]))
        .max_age(PREFLIGHT_GOOD_FOR))
}
