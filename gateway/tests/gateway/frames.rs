//! HTTP/2 by hand, for what no client library does.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::World;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection of somebody who is up to no good.
pub struct Intruder {
    stream: TcpStream,
}

/// A connection from 127.0.0.`host`, which is another address to the gateway than its honest clients' one.
pub async fn connect(world: &World, host: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))?;
    let stream = socket.connect(world.address.parse().unwrap()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Intruder {
    /// Has greeted, as every client does.
    pub async fn new(world: &World) -> Self {
        let mut this = Self { stream: connect(world, 2).await.unwrap() };
        assert!(this.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await);
        assert!(this.send(&frame(SETTINGS, 0, 0, b"")).await);
        this
    }

    /// False if the gateway has had enough.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the gateway reads or closes").is_ok()
    }

    /// Sends the same again and again, so many times at most. How often, until the gateway closed the connection.
    pub async fn send_until_closed(&mut self, times: usize, mut next: impl FnMut(usize) -> Vec<u8>) -> Option<usize> {
        for sent in 0..times {
            if !self.send(&next(sent)).await {
                return Some(sent);
            }
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

    /// Reads frames until one of this kind comes; its flags and its payload.
    pub async fn read(&mut self, kind: u8) -> Option<(u8, Vec<u8>)> {
        let read = async {
            loop {
                let mut head = [0; 9];
                self.stream.read_exact(&mut head).await.ok()?;
                let [a, b, c, found, flags, ..] = head;
                let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
                self.stream.read_exact(&mut payload).await.ok()?;
                if found == kind {
                    return Some((flags, payload));
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.ok()?
    }
}

pub fn frame(kind: u8, flags: u8, stream: usize, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = u32::try_from(stream).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// A header that is not remembered, in HPACK.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &integer(name.len(), 7), name.as_bytes(), &integer(value.len(), 7), value.as_bytes()].concat()
}

/// The headers of a call.
pub fn call(method: &str) -> Vec<u8> {
    [(":method", "POST"), (":scheme", "http"), (":authority", "shop"), (":path", method)]
        .iter()
        .chain(&[("content-type", "application/grpc"), ("te", "trailers")])
        .flat_map(|(name, value)| header(name, value))
        .collect()
}

/// An integer as HPACK has it, where the first byte has so many bits for it.
fn integer(value: usize, bits: u32) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![u8::try_from(value).unwrap()];
    }
    let (mut bytes, mut rest) = (vec![u8::try_from(most).unwrap()], value - most);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// What this process has in memory: the gateway, its owner and the test.
pub fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
