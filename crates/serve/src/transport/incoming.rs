use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpIncoming};

use super::pace::{Pace, Paces};
use super::seats::{Seat, Seats, network};

/// How many connections there may be, and how patient we are with them.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// At once. Never more than three quarters of the files that the process may have open, so that some are left for what else it does.
    pub total: usize,
    /// Of one address at once; of IPv6 of one network of 64 bits.
    pub per_address: usize,
    /// Until a peer has sent the first bytes of a call. HTTP/2 pings it from then on, and HTTP/1.1 waits 30 s for a head.
    pub greeting: Duration,
    /// For how long a peer may take nothing of what is sent to it.
    pub stalled: Duration,
    /// Bytes a second that are read of one address in the long run; twice as many after a pause. 0 means without limit.
    pub bytes_per_address: u32,
    /// Bytes that are read of a connection until others have their turn: a packet of small frames is a thousand things to do. Large enough
    /// for what tells a rapid reset, which is many calls that are given up in one packet.
    pub turn: usize,
}

/// Shorter than any head of HTTP/1.1, and as long as what every client of HTTP/2 begins with.
const GREETING_LEN: usize = 24;

/// The runtime looks for news of other connections when nobody has anything to do, and else only after many turns: so a connection rests after
/// each of its own.
const BETWEEN_TURNS: Duration = Duration::from_millis(1);

/// What a connection costs before it has said anything, in bytes: a handshake of TLS, and a place in several tables.
const CONNECTION_COST: u32 = 4 << 10;

/// After an error such as too many open files, which the next attempt would meet at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Allows this process as many open files as it may have. Many systems begin with 1024, and every connection is one.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Nothing is lost if it fails: connections are bounded by what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Connections as they come, within limits. Those beyond are closed at once.
#[derive(Debug)]
pub struct Incoming<L = TcpIncoming> {
    listener: L,
    limits: Connections,
    seats: Arc<Seats>,
    paces: Paces,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<L> Incoming<L> {
    pub fn new(listener: L, limits: Connections) -> Self {
        let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
        let total = limits.total.min(files.unwrap_or(usize::MAX) / 4 * 3);
        let paces = Paces::new(limits.bytes_per_address);
        Self { listener, limits, seats: Seats::new(total, limits.per_address), paces, pause: None }
    }

    fn admit(&self, stream: TcpStream) -> Option<Connection> {
        let peer = stream.peer_addr().ok()?;
        let address = network(peer.ip());
        let pace = self.paces.of(address);
        if pace.wait().is_some() {
            tracing::debug!(%address, "too much, too fast");
            return None;
        }
        pace.charge(CONNECTION_COST);
        let Some(seat) = self.seats.take(address) else {
            tracing::debug!(%address, "too many connections");
            return None;
        };
        let greeting = Some((GREETING_LEN, Box::pin(sleep(self.limits.greeting))));
        let reading = Reading { of_turn: 0, paused: None };
        let patience = self.limits.stalled;
        Some(Connection {
            stream,
            peer: Peer { address: peer, pace },
            reading,
            turn: self.limits.turn,
            greeting,
            stalled: None,
            patience,
            _seat: seat,
        })
    }
}

impl<L: Stream<Item = io::Result<TcpStream>> + Unpin> Stream for Incoming<L> {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(Pin::new(&mut self.listener).poll_next(cx)) {
                Some(Ok(stream)) => {
                    if let Some(connection) = self.admit(stream) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Whom a call comes from.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// What its address has us do.
    pub pace: Arc<Pace>,
}

/// A connection that is read at its address's pace, and given up when its peer says nothing at first, or takes nothing later.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: Peer,
    reading: Reading,
    turn: usize,
    /// How many bytes are still awaited, and until when.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
    /// Since something could not be sent.
    stalled: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    _seat: Seat,
}

/// How far the reading of a connection is.
#[derive(Debug)]
struct Reading {
    /// Bytes since others had their turn.
    of_turn: usize,
    /// Until it is this connection's turn again.
    paused: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// Waits for the pace, and while others have their turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Reading { of_turn, paused } = &mut self.reading;
        loop {
            if let Some(pause) = paused {
                ready!(pause.as_mut().poll(cx));
                *paused = None;
            }
            let pause = self.peer.pace.wait().or_else(|| (*of_turn >= self.turn).then_some(BETWEEN_TURNS));
            let Some(pause) = pause else { break };
            *of_turn = 0;
            *paused = Some(Box::pin(sleep(pause)));
        }
        Poll::Ready(())
    }

    /// Reads, and notes how much it was.
    fn poll_read_turn(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_turn(cx));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let len = buffer.filled().len() - before;
        self.reading.of_turn = if read.is_pending() { 0 } else { self.reading.of_turn + len };
        self.peer.pace.charge(u32::try_from(len).unwrap_or(u32::MAX));
        read
    }

    /// Passes on what became of a write, unless nothing has for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.poll_read_turn(cx, buffer);
        let Some((awaited, until)) = &mut self.greeting else { return read };
        *awaited = awaited.saturating_sub(buffer.filled().len() - before);
        if *awaited == 0 {
            self.greeting = None;
        } else if read.is_pending() {
            ready!(until.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::transport::Limits;

    #[tokio::test]
    async fn too_many_open_files_are_waited_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        // As the system says it: EMFILE.
        let listener = stream::iter([Err(io::Error::from_raw_os_error(24)), Ok(accepted)]);
        let began = Instant::now();
        let mut incoming = Incoming::new(listener, Limits::EDGE.connections);
        assert!(incoming.next().await.is_some_and(|connection| connection.is_ok()));
        assert!(began.elapsed() >= PAUSE, "it would be met again and again meanwhile");
    }

    #[tokio::test]
    async fn a_connection_that_has_much_to_say_lets_others_have_their_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let limits = Connections { turn: 100, ..Limits::EDGE.connections };
        let mut incoming = Incoming::new(stream::iter([Ok(accepted)]), limits);
        let mut connection = incoming.next().await.unwrap().unwrap();
        peer.write_all(&[7; 1000]).await.unwrap();
        connection.stream.readable().await.unwrap();

        let mut of_turn = 0;
        let mut part = [0; 60];
        while let Poll::Ready(read) = futures::poll!(Box::pin(connection.read(&mut part))) {
            of_turn += read.unwrap();
        }
        assert_eq!(of_turn, 120, "the turn ends with the read that goes beyond it");
        connection.read_exact(&mut [0; 880]).await.expect("the rest comes in later turns");
    }
}
