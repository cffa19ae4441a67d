use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What is read at once.
const CHUNK: usize = 16 << 10;

/// Chunks that a connection carries before it is reset.
const BEFORE_RESET: u32 = 4;

/// Bytes of a tiny piece, and how many pieces are sent like that; the rest of a chunk follows whole, for the machine has other things to do.
const PIECE: usize = 3;
const PIECES: usize = 200;

/// What a proxy does to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    Delay(Duration),
    /// What is sent is held until this is over, in both directions.
    Hold,
    /// The same in one direction.
    HoldOne(Way),
    /// What is sent in one direction is lost. As no stream has holes, the connection breaks when this is over.
    Lose(Way),
    /// Each connection breaks, old ones at once and new ones soon.
    Reset,
    Slice,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Requests,
    Answers,
}

/// A way from some process to one address.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    touched: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Pass);
        let touched = Arc::<AtomicU64>::default();
        let weather = Weather { mode: mode.subscribe(), touched: Arc::clone(&touched) };
        let serving = tokio::spawn(serve(listener, target, weather));
        Self { address, mode, touched, serving }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How often something that passed was not simply passed on, ever.
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What a connection meets.
#[derive(Clone, Debug)]
struct Weather {
    mode: watch::Receiver<Mode>,
    touched: Arc<AtomicU64>,
}

impl Weather {
    fn touch(&self) {
        self.touched.fetch_add(1, Ordering::Relaxed);
    }

    async fn until(&mut self, wanted: impl Fn(Mode) -> bool + Send + Sync) {
        // It ends with the proxy, and so does whoever waits here.
        let _ = self.mode.wait_for(|mode| wanted(*mode)).await;
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, weather: Weather) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        connections.spawn(connection(near, target, weather.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(near: TcpStream, target: SocketAddr, weather: Weather) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    for stream in [&near, &far] {
        let _ = stream.set_nodelay(true);
    }
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let carried = tokio::try_join!(
        pump(&mut near_in, &mut far_out, Way::Requests, weather.clone()),
        pump(&mut far_in, &mut near_out, Way::Answers, weather)
    );
    if carried.is_err() {
        // Both ends are told at once that it broke, and not that it ended.
        let _ = near_out.as_ref().set_zero_linger();
        let _ = far_out.as_ref().set_zero_linger();
    }
}

/// The connection has failed, or is to be broken.
struct Broken;

impl From<std::io::Error> for Broken {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// Carries one direction, until it ends or breaks.
async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, way: Way, mut weather: Weather) -> Result<(), Broken> {
    let mut buffer = vec![0; CHUNK];
    let mut carried = 0;
    let began_in_reset = *weather.mode.borrow() == Mode::Reset;
    let mut storm = weather.clone();
    loop {
        let length = tokio::select! {
            length = from.read(&mut buffer) => length?,
            () = storm.until(|mode| mode == Mode::Reset), if !began_in_reset => {
                weather.touch();
                return Err(Broken);
            }
        };
        if length == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        carried += 1;
        let mode = *weather.mode.borrow();
        if mode != Mode::Pass {
            weather.touch();
        }
        match mode {
            Mode::Delay(time) => tokio::time::sleep(time).await,
            Mode::Hold => weather.until(|mode| mode != Mode::Hold).await,
            Mode::HoldOne(held) if held == way => weather.until(|mode| mode == Mode::Pass).await,
            Mode::Lose(lost) if lost == way => {
                weather.until(|mode| mode == Mode::Pass).await;
                return Err(Broken);
            }
            Mode::Reset if carried > BEFORE_RESET => return Err(Broken),
            Mode::Slice => {
                slice(to, &buffer[..length]).await?;
                continue;
            }
            _ => {}
        }
        to.write_all(&buffer[..length]).await?;
    }
}

async fn slice(to: &mut OwnedWriteHalf, chunk: &[u8]) -> Result<(), Broken> {
    let (tiny, rest) = chunk.split_at(chunk.len().min(PIECE * PIECES));
    for piece in tiny.chunks(PIECE) {
        to.write_all(piece).await?;
        tokio::task::yield_now().await;
    }
    Ok(to.write_all(rest).await?)
}

#[cfg(test)]
mod tests {
    use testkit::eventually;
    use tokio::time::timeout;

    use super::*;

    /// In which nothing arrives that is held.
    const MOMENT: Duration = Duration::from_millis(200);

    /// For what arrives, on a slow machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A proxy before somebody who says everything again.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap()).await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        stream.write_all(&buffer[..length]).await.unwrap();
                    }
                });
            }
        });
        let client = TcpStream::connect(proxy.address).await.unwrap();
        (proxy, client)
    }

    async fn hears_nothing(client: &mut TcpStream) -> bool {
        timeout(MOMENT, client.read_u8()).await.is_err()
    }

    async fn heard(client: &mut TcpStream) -> std::io::Result<String> {
        let mut answer = [0; 5];
        timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("an answer or an end")?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    #[tokio::test]
    async fn what_is_held_arrives_when_it_is_over() {
        for mode in [Mode::Hold, Mode::HoldOne(Way::Requests), Mode::HoldOne(Way::Answers)] {
            let (proxy, mut client) = echo().await;
            proxy.set(mode);
            client.write_all(b"hello").await.unwrap();
            eventually("it is held", async || proxy.touched() > 0).await;
            assert!(hears_nothing(&mut client).await, "{mode:?}");
            proxy.set(Mode::Pass);
            assert_eq!(heard(&mut client).await.unwrap(), "hello");
        }
    }

    #[tokio::test]
    async fn what_is_lost_never_arrives_and_its_connection_breaks() {
        for way in [Way::Requests, Way::Answers] {
            let (proxy, mut client) = echo().await;
            proxy.set(Mode::Lose(way));
            client.write_all(b"hello").await.unwrap();
            eventually("it is lost", async || proxy.touched() > 0).await;
            assert!(hears_nothing(&mut client).await, "{way:?}");
            proxy.set(Mode::Pass);
            assert!(heard(&mut client).await.is_err(), "{way:?}");
        }
    }

    #[tokio::test]
    async fn a_reset_breaks_what_there_is() {
        let (proxy, mut client) = echo().await;
        client.write_all(b"hello").await.unwrap();
        assert_eq!(heard(&mut client).await.unwrap(), "hello");
        proxy.set(Mode::Reset);
        assert!(heard(&mut client).await.is_err());
    }

    #[tokio::test]
    async fn pieces_are_the_whole() {
        let (proxy, mut client) = echo().await;
        proxy.set(Mode::Slice);
        client.write_all(b"hello").await.unwrap();
        assert_eq!(heard(&mut client).await.unwrap(), "hello");
    }
}
