use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use ledger::Chance;
use messaging::Backoff;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tower::{BoxError, Service};

use super::{CONNECTION_WINDOW, Error, HEADERS_SIZE, PING_INTERVAL, PING_TIMEOUT, STREAM_WINDOW, Tls};

/// For one attempt, TLS included. Calls wait for it meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A few answers of a stream. Each slow reader makes us keep so much at most.
const LASTING_STREAM_WINDOW: u32 = 64 << 10;

/// As HTTP/2 has it.
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// Calls that wait for the connection; those beyond wait outside.
const QUEUE: usize = 1024;

/// A channel to `http://host:port` or, over TLS, `https://host:port`.
///
/// It connects with the first call, and again when the connection is lost. Between attempts there is a growing pause, up to two seconds, in
/// which calls fail with UNAVAILABLE at once. Calls have no time limit here: each brings its own deadline.
pub fn channel(endpoint: &str, tls: Option<&Tls>) -> Result<Channel, Error> {
    connect(endpoint, tls, (STREAM_WINDOW, CONNECTION_WINDOW))
}

/// The same, for answers that go on coming and are passed on to readers that we do not know.
///
/// What a slow one does not take stays in its stream's window, and counts in the connection's: in a connection of bounded size a few of them
/// would hold up everybody. So what is bounded here is the stream alone, and no other calls may use this channel.
pub fn stream_channel(endpoint: &str, tls: Option<&Tls>) -> Result<Channel, Error> {
    connect(endpoint, tls, (LASTING_STREAM_WINDOW, WINDOW_MAX))
}

fn connect(endpoint: &str, tls: Option<&Tls>, (stream, connection): (u32, u32)) -> Result<Channel, Error> {
    let wrong = || Error::Endpoint(endpoint.to_owned());
    let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
    let settings = Endpoint::from(uri.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .buffer_size(QUEUE)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADERS_SIZE)
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection);
    let settings = match uri.scheme_str() {
        Some("http") => settings,
        Some("https") => {
            let tls = tls.and_then(Tls::client).ok_or_else(|| Error::NoAuthority(endpoint.to_owned()))?;
            settings.tls_config(tls).map_err(Error::Tls)?
        }
        _ => return Err(wrong()),
    };
    Ok(settings.connect_with_connector_lazy(Connector::new()))
}

/// Connects, but not too often.
struct Connector {
    tcp: HttpConnector,
    backoff: Backoff,
    chance: Chance,
}

impl Connector {
    fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        // TLS is put around it by the channel.
        tcp.enforce_http(false);
        Self { tcp, backoff: Backoff::default(), chance: Chance::new() }
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self.backoff.attempt(Instant::now(), self.chance.fraction()) {
            Ok(()) => {
                let connecting = self.tcp.call(uri);
                Box::pin(async { connecting.await.map_err(Into::into) })
            }
            Err(pause) => Box::pin(async move { Err(Paused(pause).into()) }),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no connection, and the next attempt is in {} ms", .0.as_millis())]
struct Paused(Duration);
