//! Logs and traces, set up once for the process.
//!
//! Log lines go to standard error, for people or as JSON, and carry the trace that they belong to. Traces are exported over OTLP when the
//! standard variables name a receiver. Where several roles share the process, each is a service of its own in both ([`trace::role`]).

mod about;
mod config;
mod export;
mod log;
mod recorder;

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, FilterFn, LevelFilter};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

pub use config::{Config, Format, Otlp};
pub use recorder::Recorder;

/// How long a stop waits for the receiver to take what is left.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{value} is no log filter (such as info,millrace_ledger=debug): {reason}")]
    Filter { value: String, reason: String },
    #[error("{0} is no log format: text or json")]
    Format(String),
    #[error("the receiver of traces: {0}")]
    Receiver(#[from] crate::transport::Error),
    #[error("the exporter of traces cannot be set up: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("no thread for the exporter of traces: {0}")]
    Thread(std::io::Error),
    #[error("telemetry has been set up in this process already")]
    Twice,
}

/// Holds what exports. Dropped without [`shutdown`](Self::shutdown), it loses the last spans.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
    /// Lives as long as anything may be exported. None if nothing is.
    _background: Option<export::Background>,
}

impl Telemetry {
    /// Sets up telemetry for the process. It works until the result is dropped.
    pub fn install(config: Config) -> Result<Self, Error> {
        if !config.keeps_spans() {
            trace::span::nobody_looks();
        }
        let (dispatch, telemetry) = Self::build(config, BoxMakeWriter::new(std::io::stderr))?;
        tracing::dispatcher::set_global_default(dispatch).map_err(|_| Error::Twice)?;
        if let Some(told) = fault::told() {
            tracing::error!(told, "this process was told to break its promises, for tests: it is no release");
        }
        Ok(telemetry)
    }

    /// The same for a part of a process, such as a test: what is done under the dispatch. Log lines go to `writer`.
    pub fn build(config: Config, writer: BoxMakeWriter) -> Result<(Dispatch, Self), Error> {
        let filter = EnvFilter::try_new(&config.filter);
        let filter =
            filter.map_err(|error| Error::Filter { value: config.filter.clone(), reason: error.to_string() })?;
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(config.color)
            .event_format(log::Lines(config.format))
            .fmt_fields(log::NoFields)
            .with_writer(writer)
            // Quiet logs, too, say what a line is about.
            .with_filter(
                filter
                    .and(FilterFn::new(is_fit_for_logs))
                    .or(FilterFn::new(is_own_span).with_max_level_hint(LevelFilter::INFO)),
            );
        let kept = config.keeps_spans();
        let telemetry = Self::start(config)?;
        let spans = kept.then(|| {
            tracing_opentelemetry::layer()
                .with_tracer(telemetry.provider.tracer("millrace"))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(FilterFn::new(belongs_to_traces).with_max_level_hint(LevelFilter::INFO))
        });
        let abouts = about::Abouts.and_then((!kept).then_some(trace::Passing));
        let abouts = abouts.with_filter(FilterFn::new(is_own_span).with_max_level_hint(LevelFilter::INFO));
        Ok((Dispatch::new(tracing_subscriber::registry().with(spans).with(abouts).with(lines)), telemetry))
    }

    fn start(config: Config) -> Result<Self, Error> {
        let mut provider = SdkTracerProvider::builder().with_span_processor(export::Roles);
        if let Some(recorder) = config.recorder {
            provider = provider.with_span_processor(recorder);
        }
        let background = config.otlp.is_some().then(export::Background::start).transpose()?;
        if let (Some(otlp), Some(background)) = (config.otlp, &background) {
            let exporter = background.within(|| export::PerRole::new(&otlp, &config.service, &config.roles))?;
            provider = provider.with_batch_exporter(exporter);
        }
        Ok(Self { provider: provider.build(), _background: background })
    }

    /// Exports what has ended so far.
    pub async fn flush(&self) {
        let provider = self.provider.clone();
        blocking(move || {
            // The exporter has told the log what went wrong.
            let _ = provider.force_flush();
        })
        .await;
    }

    /// Exports what is left, and stops. Takes five seconds at most.
    pub async fn shutdown(self) {
        let provider = self.provider.clone();
        blocking(move || {
            let _ = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        })
        .await;
    }
}

/// The SDK waits by blocking the thread, which is not ours to block.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    // It fails only if the work panics, and a lost span is no reason to.
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Our own spans, and warnings as events of them. Libraries' spans would be noise, and the exporter's own would export themselves for ever.
fn belongs_to_traces(metadata: &Metadata<'_>) -> bool {
    let is_warning = metadata.is_event() && *metadata.level() <= Level::WARN;
    is_own_span(metadata) || (is_warning && metadata.target().starts_with("millrace"))
}

/// What libraries say at the level TRACE is what they carry: every header of every call, with its token.
fn is_fit_for_logs(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::DEBUG || metadata.target().starts_with("millrace")
}

fn is_own_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target().starts_with("millrace")
}
