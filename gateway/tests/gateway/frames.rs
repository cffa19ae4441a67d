//! Intruders into the gateway of a test, and what they cost.

use std::net::Ipv4Addr;

use abuse::http2;
use tokio::net::TcpStream;

pub use abuse::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Intruder, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, first_call, frame, header, message,
};

use crate::world::World;

/// A connection from 127.0.0.`host`, which is another address to the gateway than its honest clients' one.
pub async fn connect(world: &World, host: u8) -> std::io::Result<TcpStream> {
    http2::connect(world.address.parse().unwrap(), Ipv4Addr::new(127, 0, 0, host)).await
}

/// Somebody who is up to no good, and has greeted.
pub async fn intruder(world: &World) -> Intruder {
    intruder_from(world, 2).await.unwrap()
}

pub async fn intruder_from(world: &World, host: u8) -> std::io::Result<Intruder> {
    Intruder::greet(world.address.parse().unwrap(), Ipv4Addr::new(127, 0, 0, host)).await
}

/// One that takes no answers.
pub async fn deaf_intruder(world: &World) -> Intruder {
    Intruder::greet_deaf(world.address.parse().unwrap(), Ipv4Addr::new(127, 0, 0, 2)).await.unwrap()
}

/// What this process has in memory: the gateway, its owner and the test.
pub fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
