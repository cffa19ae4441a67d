//! What is measured: one table of all metrics, and handles to them.
//!
//! A handle is made once and kept where it is used often; whatever happens seldom makes its own each time. Each metric of a role gets the label
//! `service` from the thread that it is made on ([`trace::role`]), because roles that share a process have threads of their own. Labels have
//! few values: methods, subscriptions, outcomes, never an id. Nothing here exports anything; the crate `serve` does. Without it handles do
//! nothing.

mod table;

pub use metrics::{Counter, Gauge, Histogram};
use metrics::{Key, Label, Level, Metadata, with_recorder};

pub use table::*;

/// One metric, by the rules of Prometheus: base units, `_total` for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// The names of its labels, but for `service`.
    pub labels: &'static [&'static str],
    /// One sentence for whoever looks at it.
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Of seconds.
    Histogram,
}

/// Makes a service's metrics appear that have no label, or one for each subscription. Those of its commands and events do so with its lanes.
pub fn show_service(subscriptions: &[&str]) {
    let is_ours = |metric: &&Metric| metric.name.starts_with("millrace_") && !is_of_gateway(metric);
    for metric in ALL.iter().filter(is_ours) {
        match metric.labels {
            [] => metric.show(&[]),
            ["subscription"] => subscriptions.iter().for_each(|subscription| metric.show(&[subscription])),
            _ => {}
        }
    }
}

/// Makes the gateway's metrics appear that have no label. Those of its calls do so with its routes.
pub fn show_gateway() {
    ALL.iter().filter(|metric| is_of_gateway(metric) && metric.labels.is_empty()).for_each(|metric| metric.show(&[]));
}

fn is_of_gateway(metric: &Metric) -> bool {
    metric.name.starts_with("millrace_gateway_")
}

const METADATA: Metadata<'static> = Metadata::new("millrace", Level::INFO, None);

impl Metric {
    /// `values` are those of its labels, in their order.
    pub fn counter(&self, values: &[&str]) -> Counter {
        with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    pub fn gauge(&self, values: &[&str]) -> Gauge {
        with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA))
    }

    pub fn histogram(&self, values: &[&str]) -> Histogram {
        with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }

    /// Makes it appear before anything has happened: what was never 0 cannot be seen to rise.
    pub fn show(&self, values: &[&str]) {
        match self.kind {
            Kind::Counter => drop(self.counter(values)),
            Kind::Gauge => drop(self.gauge(values)),
            Kind::Histogram => drop(self.histogram(values)),
        }
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(self.labels.len(), values.len(), "the labels of {}", self.name);
        let own = self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned()));
        let service = trace::role::current().map(|role| Label::new("service", role.to_string()));
        Key::from_parts(self.name, own.chain(service).collect::<Vec<_>>())
    }
}
