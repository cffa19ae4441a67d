//! HTTP/2 by hand, for what no client library does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it is the last that its call is told.
    pub const fn ends_stream(&self) -> bool {
        self.kind == RST_STREAM || (matches!(self.kind, HEADERS | DATA) && self.flags & END_STREAM != 0)
    }
}

/// A connection of somebody who is up to no good.
#[derive(Debug)]
pub struct Intruder {
    stream: TcpStream,
}

/// A connection from an address of ours. To the gateway, each address of 127.0.0.0/8 is somebody else.
pub async fn connect(to: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    connect_by(TcpSocket::new_v4()?, to, from).await
}

async fn connect_by(socket: TcpSocket, to: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Intruder {
    /// Has greeted, as every client does.
    pub async fn greet(to: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        Self::greet_by(TcpSocket::new_v4()?, to, from).await
    }

    /// The same, with little room for answers: if they are not read, the gateway soon has nowhere to put them.
    pub async fn greet_deaf(to: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        Self::greet_by(socket, to, from).await
    }

    async fn greet_by(socket: TcpSocket, to: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        let mut this = Self { stream: connect_by(socket, to, from).await? };
        let greeting = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
        if this.send(&greeting).await { Ok(this) } else { Err(io::ErrorKind::ConnectionReset.into()) }
    }

    /// False if the gateway has had enough.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the gateway reads or closes").is_ok()
    }

    /// Sends, and throws away what comes meanwhile: else a gateway that nobody reads stops reading, too.
    pub async fn send_and_discard(&mut self, bytes: &[u8]) -> bool {
        let (mut reader, mut writer) = self.stream.split();
        let mut buffer = vec![0; 64 << 10];
        let discard = async { while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
        tokio::select! {
            sent = writer.write_all(bytes) => sent.is_ok(),
            () = discard => false,
        }
    }

    /// Sends the same again and again, so many times at most. How often, until the gateway closed the connection.
    pub async fn send_until_closed(&mut self, times: usize, mut next: impl FnMut(usize) -> Vec<u8>) -> Option<usize> {
        for sent in 0..times {
            if !self.send(&next(sent)).await {
                return Some(sent);
            }
            // The gateway of a test runs on the same thread.
            tokio::task::yield_now().await;
        }
        self.is_closed().await.then_some(times)
    }

    /// Reads on until the gateway closes the connection, or says nothing more.
    pub async fn is_closed(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match tokio::time::timeout(Duration::from_secs(2), self.stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(_)) => {}
                Err(_) => return false,
            }
        }
    }

    /// Takes what has come so far, and throws it away; how many bytes. None if the gateway has closed the connection.
    pub fn discard(&mut self) -> Option<usize> {
        let (mut buffer, mut taken) = (vec![0; 64 << 10], 0);
        loop {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return None,
                Ok(more) => taken += more,
                Err(error) => return (error.kind() == io::ErrorKind::WouldBlock).then_some(taken),
            }
        }
    }

    /// The next frame; None if the gateway closed the connection, or said nothing for long.
    pub async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
        };
        tokio::time::timeout(PATIENCE, read).await.ok()?
    }

    /// Reads frames until one of this kind comes; its flags and its payload.
    pub async fn read(&mut self, kind: u8) -> Option<(u8, Vec<u8>)> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some((frame.flags, frame.payload));
            }
        }
    }

    /// Reads until so many frames came that a call is told of, and tells whether they did.
    pub async fn read_times(&mut self, times: usize, is_meant: impl Fn(&Frame) -> bool) -> bool {
        let mut seen = 0;
        while seen < times {
            let Some(frame) = self.next().await else { return false };
            seen += usize::from(is_meant(&frame));
        }
        true
    }

    /// Leaves without a word: whatever is under way is forgotten, and the gateway meets a reset.
    pub fn vanish(self) {
        // The connection is closed either way.
        let _ = self.stream.set_zero_linger();
    }
}

pub fn frame(kind: u8, flags: u8, stream: usize, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload is short").to_be_bytes();
    let stream = u32::try_from(stream).expect("streams have 31 bits").to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// A header that is not remembered, in HPACK.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &integer(name.len(), 7), name.as_bytes(), &integer(value.len(), 7), value.as_bytes()].concat()
}

/// A header that is remembered from now on. The last one of these is `0xbe`, the one before `0xbf`, and so on.
pub fn remembered(name: &str, value: &str) -> Vec<u8> {
    [&[0x40][..], &header(name, value)[1..]].concat()
}

/// The headers of a call.
pub fn call(method: &str) -> Vec<u8> {
    headers_of(method).into_iter().flat_map(|(name, value)| header(name, value)).collect()
}

/// The same for the first of many: those that follow cost no more than a byte for each header.
pub fn first_call(method: &str, more: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let headers: Vec<_> = headers_of(method).into_iter().chain(more.iter().copied()).collect();
    let first = headers.iter().flat_map(|(name, value)| remembered(name, value)).collect();
    let again = (0..headers.len()).rev().map(|age| 0xbe + u8::try_from(age).expect("they are few")).collect();
    (first, again)
}

fn headers_of(method: &str) -> [(&str, &str); 6] {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop"),
        (":path", method),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
}

/// A message as gRPC has it in DATA.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a message is short").to_be_bytes();
    [&[0][..], &length, bytes].concat()
}

/// An integer as HPACK has it, where the first byte has so many bits for it.
fn integer(value: usize, bits: u32) -> Vec<u8> {
    let most = (1 << bits) - 1;
    let byte = |value: usize| u8::try_from(value).expect("it is cut to a byte");
    if value < most {
        return vec![byte(value)];
    }
    let (mut bytes, mut rest) = (vec![byte(most)], value - most);
    while rest >= 128 {
        bytes.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    bytes.push(byte(rest));
    bytes
}
