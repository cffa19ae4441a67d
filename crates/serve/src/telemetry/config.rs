use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::{Error, Recorder};

/// What is told to whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which log lines are written: levels, also by target, such as `info,millrace_ledger=debug`.
    pub filter: String,
    pub format: Format,
    /// Text in colour.
    pub color: bool,
    /// The service's name in traces, where no role has a better one.
    pub service: String,
    /// The roles that run here. Each is a service of its own in traces.
    pub roles: Vec<String>,
    /// Where traces are exported to.
    pub otlp: Option<Otlp>,
    /// Keeps traces in memory.
    pub recorder: Option<Recorder>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// A receiver of traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// `http://host:4317`, or `https://…` with an authority.
    pub endpoint: String,
    /// The file with the authority (CA) that the receiver's certificate is trusted by.
    pub authority: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            filter: "info,async_nats=warn".to_owned(),
            format: Format::Text,
            color: false,
            service: "millrace".to_owned(),
            roles: Vec::new(),
            otlp: None,
            recorder: None,
        }
    }
}

impl Config {
    /// Whether anybody keeps spans. Else traces have their ids only, for log lines and for those who come after us.
    pub(super) const fn keeps_spans(&self) -> bool {
        self.otlp.is_some() || self.recorder.is_some()
    }

    /// Reads `MILLRACE_LOG` (the filter), `MILLRACE_LOG_FORMAT` (`text`, `json`), `NO_COLOR` and OpenTelemetry's `OTEL_SDK_DISABLED`,
    /// `OTEL_TRACES_EXPORTER` (`otlp`, `none`), `OTEL_SERVICE_NAME`, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and
    /// `OTEL_EXPORTER_OTLP_CERTIFICATE`. The SDK reads others itself: `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`, `OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub fn from_env(roles: Vec<String>, get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        // OpenTelemetry: "an empty value is the same as an unset one".
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let default = Self::default();
        let format = match get("MILLRACE_LOG_FORMAT").as_deref() {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(Error::Format(other.to_owned())),
        };
        Ok(Self {
            filter: get("MILLRACE_LOG").unwrap_or(default.filter),
            format,
            color: std::io::stderr().is_terminal() && get("NO_COLOR").is_none(),
            service: get("OTEL_SERVICE_NAME").unwrap_or(default.service),
            roles,
            otlp: otlp(get),
            recorder: None,
        })
    }
}

fn otlp(get: impl Fn(&str) -> Option<String>) -> Option<Otlp> {
    let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let none = get("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
    if disabled || none {
        return None;
    }
    let endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
    Some(Otlp { endpoint, authority: get("OTEL_EXPORTER_OTLP_CERTIFICATE").map(PathBuf::from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, Error> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Config::from_env(Vec::new(), find)
    }

    #[test]
    fn traces_are_exported_only_where_a_receiver_is_named_and_nobody_objects() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        assert_eq!(config(&[]).unwrap().otlp, None);
        assert_eq!(config(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap().otlp, None);
        assert_eq!(config(&[endpoint]).unwrap().otlp.unwrap().endpoint, endpoint.1);
        assert_eq!(config(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap().otlp, None);
        assert_eq!(config(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().otlp, None);
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317");
        assert_eq!(config(&[endpoint, own]).unwrap().otlp.unwrap().endpoint, own.1);
    }

    #[test]
    fn a_log_format_is_text_or_json() {
        assert_eq!(config(&[]).unwrap().format, Format::Text);
        assert_eq!(config(&[("MILLRACE_LOG_FORMAT", "json")]).unwrap().format, Format::Json);
        assert!(matches!(config(&[("MILLRACE_LOG_FORMAT", "xml")]), Err(Error::Format(other)) if other == "xml"));
    }
}
