use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serve::transport::{Connections, Tls};

use crate::limit::Rate;

/// What a gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What subjects and streams begin with.
    pub namespace: String,
    /// Where each domain's service is, such as `http://order:50051`. The methods of a domain without an endpoint do not exist.
    pub endpoints: BTreeMap<String, String>,
    /// Files with more encoded descriptor sets, so that the gateway need not be as new as its services.
    pub descriptors: Vec<PathBuf>,
    /// Where pages may call from over gRPC-Web, such as `https://shop.example`; `*`: from anywhere. Empty: from nowhere. Never with the
    /// browser's credentials.
    pub allowed_origins: Vec<String>,
    /// What clients connect with. None: without TLS.
    pub tls: Option<Tls>,
    /// What the services are called with.
    pub onward_tls: Option<Tls>,
    pub limits: Limits,
}

/// Everything that is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of an encoded request.
    pub message_len_max: usize,
    /// For calls without a deadline of their own; streams last as long as their session.
    pub deadline_default: Duration,
    /// Longer deadlines are cut to this.
    pub deadline_max: Duration,
    /// How long a durable command's outcome is waited for before the answer is ACCEPTED.
    pub answer_wait: Duration,
    /// How often the commands that were answered ACCEPTED are looked for at first; old ones less often.
    pub look_after: Duration,
    pub connections: Connections,
    /// Calls from their beginning to the last byte of their answer, which a slow reader may never take: all, and those of one address.
    pub open_calls: usize,
    pub open_calls_per_address: usize,
    /// Per address; of IPv6 per network of 64 bits.
    pub per_address: Rate,
    /// The same, of calls that carry credentials: to register, to log in, to refresh a token. Passwords are not to be guessed here, and each
    /// attempt costs its owner a slow hash.
    pub attempts_per_address: Rate,
    pub per_principal: Rate,
    /// How far back ended sessions are known. No shorter than an access token lives.
    pub session_memory: Duration,
    /// How long calls may go on after the gateway was told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_len_max: 256 * 1024,
            deadline_default: Duration::from_secs(15),
            deadline_max: Duration::from_mins(1),
            answer_wait: Duration::from_secs(2),
            look_after: Duration::from_secs(5),
            connections: serve::transport::Limits::EDGE.connections,
            open_calls: 20_000,
            open_calls_per_address: 2000,
            per_address: Rate { per_second: 2000, burst: 4000 },
            attempts_per_address: Rate { per_second: 5, burst: 300 },
            per_principal: Rate { per_second: 500, burst: 1000 },
            session_memory: Duration::from_hours(6),
            drain: Duration::from_secs(20),
        }
    }
}
