//! What every role needs to run, whatever it does.
//!
//! - [`Service`]: what a service is; [`run`]: serving it until told to stop.
//! - [`telemetry`]: logs and traces, set up once for the process.
//! - [`metrics`]: what is measured, for Prometheus.
//! - [`transport`]: servers and channels with every limit set on purpose, and TLS.
//! - [`raw`]: a gRPC codec that passes bytes through.

pub mod metrics;
pub mod raw;
pub mod telemetry;
pub mod transport;

mod audit;
mod consistency;
mod effects;
mod heal;
mod intake;
mod log;
mod maintenance;
mod node;
mod opened;
mod operator;
mod owner;
mod owners;
mod redriven;
mod run;
mod sample;
mod service;
mod status;
mod timers;
mod watch;

pub use effects::ATTEMPT;
pub use intake::GATEWAY;
pub use node::{Node, Running, Wiring};
pub use opened::Opened;
pub use owner::Calls;
pub use owners::{OwnerError, Owners, Server};
pub use run::{Config, RunError, Signals, run};
pub use service::Service;
pub use watch::{Bell, Rings, Watch};
