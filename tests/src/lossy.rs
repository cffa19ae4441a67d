//! A network that loses every answer.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Channel, Endpoint};

/// The type of an HTTP/2 frame that begins an answer.
const HEADERS: u8 = 1;
/// A frame's length (3 bytes), type, flags and stream.
const FRAME_HEAD: usize = 9;

/// A connection to a server whose requests arrive, and which breaks as soon as there is an answer, before any of it is seen.
pub(crate) async fn losing_answers_of(server: SocketAddr) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, server));
        }
    });
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

async fn carry(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, _keep_open) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! { biased;
        () = first_answer(from_server) => {}
        _ = copy(&mut from_client, &mut to_server) => {}
    }
}

/// Reads frame by frame until one begins an answer.
async fn first_answer(mut server: impl AsyncRead + Unpin) {
    let mut head = [0; FRAME_HEAD];
    while server.read_exact(&mut head).await.is_ok() {
        if head[3] == HEADERS {
            return;
        }
        let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        if copy(&mut (&mut server).take(length), &mut tokio::io::sink()).await.is_err() {
            return;
        }
    }
}
