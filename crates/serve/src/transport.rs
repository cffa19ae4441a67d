//! gRPC servers and channels, with every limit set on purpose: tonic's own defaults leave streams, time and memory unlimited, and reconnect
//! without a pause.

mod callee;
mod channel;
mod incoming;
mod pace;
mod seats;
mod timeout;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use callee::{Answer, Callee};
pub use channel::{channel, stream_channel};
pub use incoming::{Connection, Connections, Incoming, Peer, raise_open_files};
pub use pace::Pace;
pub use seats::{Seat, Seats, network};
pub use timeout::timeout_in;
pub use tls::Tls;

/// Why nothing can be served, or nobody called.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the address {0} is taken: another process listens there")]
    Taken(SocketAddr),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error("cannot read {file}: {error}")]
    Read { file: String, error: std::io::Error },
    #[error("a server needs a certificate and its key for TLS")]
    NoIdentity,
    #[error(
        "{0} is to be called over TLS, but no authority (CA) is configured that its certificate could be trusted by"
    )]
    NoAuthority(String),
    #[error("{0} is no address to call: it must look like http://host:port or https://host:port")]
    Endpoint(String),
    #[error("the certificates or keys for TLS cannot be used: {0}")]
    Tls(tonic::transport::Error),
}

/// Pings find dead peers: phones leave without a word, and some networks forget a silent connection after 45 s.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Flow control: what one call, and one connection, may have under way before its reader takes it. Adaptive windows would override both.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 4 << 20;
const FRAME_SIZE: u32 = 64 << 10;

/// Metadata in all; more is refused by HTTP/2 itself, without words of ours. A token and a seal have 1 KiB each; the gateway refuses, with
/// words, what is beyond half of this.
pub const HEADERS_SIZE: u32 = 32 << 10;

/// Calls that were given up before they were begun, and calls that we reset for the peer's mistakes, until the connection is closed: the "rapid
/// reset" attack costs its attacker nothing else.
const PENDING_RESETS: usize = 32;
const ERROR_RESETS: usize = 128;

/// A handshake takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What differs between a server for strangers and one for our own services.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls of one connection at a time. The peer knows, and keeps the others to itself.
    pub streams: u32,
    /// Calls of one connection that are worked on; those beyond are answered RESOURCE_EXHAUSTED at once. Fewer than `streams`, or it would
    /// never be met.
    pub calls: usize,
    /// The time that a call has for its first answer; then CANCELLED. A backstop: whoever handles the call ends it before, with a better code.
    pub timeout: Duration,
    /// gRPC-Web comes over HTTP/1.1, too.
    pub http1: bool,
    /// Bytes of one request, and of one connection, that are taken before anybody wants them.
    pub stream_window: u32,
    pub connection_window: u32,
    pub connections: Connections,
}

impl Limits {
    /// For clients, each with a connection of its own.
    pub const EDGE: Self = Self {
        streams: 256,
        calls: 128,
        timeout: Duration::from_secs(90),
        http1: true,
        stream_window: 256 << 10,
        connection_window: 1 << 20,
        connections: Connections {
            total: 10_000,
            per_address: 500,
            greeting: Duration::from_secs(5),
            stalled: Duration::from_secs(30),
            bytes_per_address: 1 << 20,
            turn: 16 << 10,
        },
    };
    /// For our own services, whose one connection carries the calls of thousands of clients.
    pub const INTERNAL: Self = Self {
        streams: 20_000,
        calls: 2048,
        timeout: Duration::from_secs(90),
        http1: false,
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        connections: Connections {
            total: 10_000,
            per_address: 10_000,
            bytes_per_address: 0,
            turn: usize::MAX,
            ..Self::EDGE.connections
        },
    };
}

/// A server without routes. Message sizes are set where the routes are.
pub fn server(limits: &Limits, tls: Option<&Tls>) -> Result<Server, Error> {
    // `max_connection_age` stays unset: with a grace it cuts calls short, without one it cancels them.
    let server = Server::builder()
        .max_concurrent_streams(limits.streams)
        .concurrency_limit_per_connection(limits.calls)
        .load_shed(true)
        .timeout(limits.timeout)
        .accept_http1(limits.http1)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(ERROR_RESETS))
        .http2_max_header_list_size(HEADERS_SIZE)
        .max_frame_size(FRAME_SIZE)
        .http2_adaptive_window(Some(false))
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT));
    match tls {
        Some(tls) => server.tls_config(tls.server()?.timeout(HANDSHAKE_TIMEOUT)).map_err(Error::Tls),
        None => Ok(server),
    }
}

/// Listens, and says where: a port of 0 becomes a free one. From now on connections queue, whether or not they are served yet.
pub fn bind(address: SocketAddr) -> Result<(TcpIncoming, SocketAddr), Error> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::Taken(address),
        _ => Error::Listen { address, error },
    };
    // With Nagle's algorithm, small answers wait for acknowledgements. Keep-alive finds dead peers that speak HTTP/1.1, which has no pings.
    let incoming = TcpIncoming::bind(address).map_err(failed)?;
    let incoming = incoming.with_nodelay(Some(true)).with_keepalive(Some(Duration::from_mins(1)));
    let bound = incoming.local_addr().map_err(failed)?;
    Ok((incoming, bound))
}
