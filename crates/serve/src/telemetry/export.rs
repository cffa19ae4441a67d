use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::Runtime;

use super::{Error, Otlp};
use crate::transport::{Tls, channel};

/// Which role of the process a span is of.
pub(super) const ROLE: &str = "millrace.role";

/// What the connection to the receiver lives on, since the roles' own runtimes come and go: one thread that mostly sleeps.
#[derive(Debug)]
pub(super) struct Background(Option<Runtime>);

impl Background {
    pub(super) fn start() -> Result<Self, Error> {
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("telemetry").enable_all().build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(Error::Thread)
    }

    /// What `work` spawns, is spawned here.
    pub(super) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.0.as_ref().map(Runtime::enter);
        work()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A runtime that is simply dropped waits for its threads, which panics within another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Marks each span with the role of the thread that it starts on.
#[derive(Debug)]
pub(super) struct Roles;

impl SpanProcessor for Roles {
    fn on_start(&self, span: &mut Span, _: &Context) {
        if let Some(role) = trace::role::current() {
            span.set_attribute(KeyValue::new(ROLE, role));
        }
    }

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Exports each role's spans as a service of its own, because one process is one service to the SDK. One connection serves them all.
#[derive(Debug)]
pub(super) struct PerRole {
    roles: BTreeMap<String, OtlpExporter>,
    rest: OtlpExporter,
}

impl PerRole {
    /// To be called within what the connection is to live on.
    pub(super) fn new(otlp: &Otlp, service: &str, roles: &[String]) -> Result<Self, Error> {
        let authority = otlp.authority.as_deref().map(|file| Tls::default().read_authority(file)).transpose()?;
        let channel = channel(&otlp.endpoint, authority.as_ref())?;
        let exporter = |name: &str| -> Result<OtlpExporter, Error> {
            let mut exporter = OtlpExporter::builder().with_tonic().with_channel(channel.clone()).build()?;
            exporter.set_resource(&Resource::builder().with_service_name(name.to_owned()).build());
            Ok(exporter)
        };
        let roles = roles.iter().map(|role| Ok((role.clone(), exporter(role)?))).collect::<Result<_, Error>>()?;
        Ok(Self { roles, rest: exporter(service)? })
    }

    fn of(&self, span: &SpanData) -> Option<&str> {
        let role = span.attributes.iter().find(|attribute| attribute.key.as_str() == ROLE)?;
        self.roles.get_key_value(role.value.as_str().as_ref()).map(|(role, _)| role.as_str())
    }
}

impl SpanExporter for PerRole {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut by_role: BTreeMap<Option<&str>, Vec<SpanData>> = BTreeMap::new();
        for span in batch {
            by_role.entry(self.of(&span)).or_default().push(span);
        }
        let mut result = Ok(());
        for (role, spans) in by_role {
            let exporter = role.and_then(|role| self.roles.get(role)).unwrap_or(&self.rest);
            // One role's spans are not lost because another's were.
            result = result.and(exporter.export(spans).await);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let others = self.roles.values().map(|exporter| exporter.shutdown_with_timeout(timeout));
        others.fold(self.rest.shutdown_with_timeout(timeout), Result::and)
    }

    /// The resource is each exporter's own.
    fn set_resource(&mut self, _: &Resource) {}
}
