//! The parts that any durable command is made of, each alone: a publication to JetStream, a commit to SQLite, a unary call.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, StorageType};
use futures::future::try_join_all;
use proto::command::v1::command_service_client::CommandServiceClient;
use proto::command::v1::command_service_server::{CommandService, CommandServiceServer};
use proto::command::v1::{GetCommandRequest, GetCommandResponse, WaitCommandRequest, WaitCommandResponse};
use sqlx::Connection as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::floor::order::open_database;
use crate::samples::Samples;
use crate::shop::{broker_alone, scratch};

/// How many are under way at once where the throughput is measured.
const CONCURRENT: usize = 64;
/// About the size of an order's event.
const BODY: [u8; 200] = [7; 200];

/// One part: how long one takes alone, and how many can be had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) p50_ms: f64,
    pub(crate) per_s: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw {
    pub(crate) publish: Part,
    pub(crate) commit: Part,
    pub(crate) unary: Part,
}

impl Raw {
    /// One of each, one after the other, in milliseconds.
    pub(crate) fn p50_ms(&self) -> f64 {
        self.publish.p50_ms + self.commit.p50_ms + self.unary.p50_ms
    }
}

pub(crate) async fn measure(time: Duration) -> Result<Raw> {
    let (_folder, path) = scratch()?;
    Ok(Raw { publish: publish(&path, time).await?, commit: commit(&path, time).await?, unary: unary(time).await? })
}

async fn publish(folder: &Path, time: Duration) -> Result<Part> {
    let (_broker, url) = broker_alone(folder)?;
    let context = jetstream::new(async_nats::connect(url).await?);
    let (name, subjects) = ("raw".to_owned(), vec!["raw.>".to_owned()]);
    context.create_stream(Config { name, subjects, storage: StorageType::File, ..Config::default() }).await?;
    part(time, CONCURRENT, async || {
        context.publish("raw.event", BODY.as_slice().into()).await?.await?;
        Ok(())
    })
    .await
}

/// One writer at a time is all that SQLite has.
async fn commit(folder: &Path, time: Duration) -> Result<Part> {
    let mut database = open_database(&folder.join("raw.db")).await?;
    sqlx::query("create table raw (id integer primary key, body blob)").execute(&mut database).await?;
    let (mut samples, began) = (Samples::default(), Instant::now());
    while began.elapsed() < time {
        let sent = Instant::now();
        sqlx::query("insert into raw (body) values (?)").bind(BODY.as_slice()).execute(&mut database).await?;
        samples.push(sent.elapsed());
    }
    let per_s = per_s(samples.len(), began.elapsed());
    database.close().await?;
    Ok(Part { p50_ms: samples.ms(0.5).context("no commit")?, per_s })
}

async fn unary(time: Duration) -> Result<Part> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    // A thread of its own, as a service has. It ends with the process.
    std::thread::spawn(move || serve(listener));
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true).connect().await?;
    part(time, CONCURRENT, async || call(&channel).await).await
}

async fn call(channel: &Channel) -> Result<()> {
    let request = GetCommandRequest { command: "a".repeat(BODY.len()) };
    CommandServiceClient::new(channel.clone()).get_command(request).await?;
    Ok(())
}

fn serve(listener: std::net::TcpListener) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
        Ok(Server::builder().add_service(CommandServiceServer::new(Echo)).serve_with_incoming(incoming).await?)
    })
}

/// Answers at once.
#[derive(Debug)]
struct Echo;

#[tonic::async_trait]
impl CommandService for Echo {
    async fn get_command(&self, request: Request<GetCommandRequest>) -> Result<Response<GetCommandResponse>, Status> {
        let waiting_for = request.into_inner().command;
        Ok(Response::new(GetCommandResponse { waiting_for, ..GetCommandResponse::default() }))
    }

    async fn wait_command(&self, _: Request<WaitCommandRequest>) -> Result<Response<WaitCommandResponse>, Status> {
        Err(Status::unimplemented("nobody waits here"))
    }
}

/// One after the other for half of the time, and then many at once.
async fn part(time: Duration, concurrent: usize, once: impl AsyncFn() -> Result<()>) -> Result<Part> {
    let (alone, _) = repeat(time / 2, 1, &once).await?;
    let (many, took) = repeat(time / 2, concurrent, &once).await?;
    Ok(Part { p50_ms: alone.ms(0.5).context("nothing was done")?, per_s: per_s(many.len(), took) })
}

async fn repeat(time: Duration, concurrent: usize, once: &impl AsyncFn() -> Result<()>) -> Result<(Samples, Duration)> {
    let began = Instant::now();
    let caller = async |_| -> Result<Samples> {
        let mut samples = Samples::default();
        while began.elapsed() < time {
            let sent = Instant::now();
            once().await?;
            samples.push(sent.elapsed());
        }
        Ok(samples)
    };
    let all = try_join_all((0..concurrent).map(caller)).await?;
    let mut samples = Samples::default();
    samples.extend(all);
    Ok((samples, began.elapsed()))
}

#[expect(clippy::cast_precision_loss, reason = "a number of calls")]
fn per_s(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
