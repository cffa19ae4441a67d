//! Metrics for Prometheus: set up once for the process, and served on a port of their own.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use ledger::process_now;
use meter::{Kind, Metric};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::transport::{self, Limits};

/// In seconds. What goes on in one process takes milliseconds; what waits for something that is away takes minutes.
const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
/// Samples of histograms are kept one by one until they are put into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);
/// The version of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("metrics have been set up in this process already")]
    Twice,
    #[error("metrics cannot be set up: {0}")]
    Buckets(#[from] metrics_exporter_prometheus::BuildError),
    #[error(transparent)]
    Transport(#[from] transport::Error),
    #[error("the server of metrics ended: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// Measures from now on. To be called before any role is started: handles that were made before measure nothing.
pub fn install() -> Result<(), MetricsError> {
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Twice)?;
    INSTALLED.set(handle).map_err(|_| MetricsError::Twice)?;
    meter::ALL.iter().for_each(describe);
    // Close enough: nothing was done before.
    meter::START_SECONDS.gauge(&[]).set(Duration::from_micros(process_now().0.unsigned_abs()).as_secs_f64());
    Ok(())
}

/// Whether anybody may ever look.
pub(crate) fn are_installed() -> bool {
    INSTALLED.get().is_some()
}

/// Serves `/metrics`, for ever.
pub async fn serve(incoming: TcpIncoming) -> Result<(), MetricsError> {
    let answer = tower::service_fn(|request: Request<_>| {
        let answer = answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut routes = Routes::default();
    let router = std::mem::take(routes.axum_router_mut()).fallback_service(answer);
    let server = transport::server(&Limits::EDGE, None)?.add_routes(Routes::from(router)).serve_with_incoming(incoming);
    tokio::select! { biased;
        ended = server => Ok(ended?),
        never = keep_up() => match never {},
    }
}

async fn keep_up() -> Infallible {
    loop {
        tokio::time::sleep(UPKEEP).await;
        if let Some(handle) = INSTALLED.get() {
            handle.run_upkeep();
        }
    }
}

fn answer<B>(request: &Request<B>) -> Response<Body> {
    let is_ours = request.method() == Method::GET && request.uri().path() == "/metrics";
    let (status, text) =
        if is_ours { (StatusCode::OK, render()) } else { (StatusCode::NOT_FOUND, "GET /metrics\n".to_owned()) };
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(TEXT));
    response
}

fn render() -> String {
    if let Some(bytes) = resident_bytes() {
        meter::RESIDENT_BYTES.gauge(&[]).set(bytes);
    }
    INSTALLED.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// None where the system has no `/proc`.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<f64>().ok()? * 1024.0)
}

fn describe(metric: &Metric) {
    ::metrics::with_recorder(|recorder| match metric.kind {
        Kind::Counter => recorder.describe_counter(metric.name.into(), None, metric.help.into()),
        Kind::Gauge => recorder.describe_gauge(metric.name.into(), None, metric.help.into()),
        Kind::Histogram => recorder.describe_histogram(metric.name.into(), None, metric.help.into()),
    });
}
