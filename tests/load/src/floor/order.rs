use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{AckKind, Message};
use async_nats::{Client, HeaderMap, HeaderValue};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use proto::Message as _;
use proto::command::v1::{DeliverResponse, Receipt, State, deliver_response};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::rows::{self, Placed};
use super::{COMMANDS, COMMANDS_SUBJECT, EVENTS, EVENTS_SUBJECT, open_seal};

/// Commands in one transaction at most.
const BATCH: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Takes what has arrived, does it in one transaction, answers, acknowledges, and publishes what follows.
struct Order {
    database: SqliteConnection,
    client: Client,
    context: Context,
    /// Events that were published: the next transaction marks them.
    published: (mpsc::UnboundedSender<Uuid>, mpsc::UnboundedReceiver<Uuid>),
}

pub(crate) async fn run(nats_url: &str, database: &Path) -> Result<()> {
    let client = async_nats::connect(nats_url).await?;
    let context = ContextBuilder::new().ack_timeout(TIMEOUT).max_ack_inflight(BATCH).backpressure_on_inflight(true);
    let context = context.build(client.clone());
    let mut database = open_database(database).await?;
    database.execute(rows::TABLES).await?;
    let mut messages = commands(&context).await?;
    let mut order = Order { database, client, context, published: mpsc::unbounded_channel() };
    writeln!(std::io::stdout(), "ready")?;
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(first) = messages.next().await {
        batch.push(first.map_err(anyhow::Error::from_boxed)?);
        while batch.len() < BATCH
            && let Some(Some(next)) = messages.next().now_or_never()
        {
            batch.push(next.map_err(anyhow::Error::from_boxed)?);
        }
        order.take(batch.drain(..)).await?;
    }
    Ok(())
}

/// With the settings of the real one.
pub(crate) async fn open_database(path: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(true);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    Ok(SqliteConnection::connect_with(&options).await?)
}

/// The streams, and what comes from the first.
async fn commands(context: &Context) -> Result<BoxStream<'static, Result<Message, BoxedError>>> {
    let events = Config {
        name: EVENTS.to_owned(),
        subjects: vec![format!("{EVENTS_SUBJECT}.>")],
        storage: StorageType::File,
        ..Config::default()
    };
    context.create_stream(events).await?;
    let commands = Config {
        name: COMMANDS.to_owned(),
        subjects: vec![format!("{COMMANDS_SUBJECT}.>")],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        ..Config::default()
    };
    let stream = context.create_stream(commands).await?;
    let durable_name = Some("order".to_owned());
    let consumer = stream.create_consumer(pull::Config { durable_name, max_ack_pending: -1, ..Default::default() });
    let messages = consumer.await?.stream().max_messages_per_batch(BATCH).messages().await?;
    Ok(messages.map(|message| message.map_err(|error| Box::new(error) as BoxedError)).boxed())
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl Order {
    async fn take(&mut self, batch: impl Iterator<Item = Message>) -> Result<()> {
        let mut placed = Vec::new();
        for message in batch {
            let command = place(&message)?;
            placed.push((message, command));
        }
        let mut marks = Vec::new();
        while let Ok(id) = self.published.1.try_recv() {
            marks.push(id);
        }
        let rows: Vec<_> = placed.iter().map(|(_, placed)| placed).collect();
        rows::write(&mut self.database, &rows, &marks).await?;
        for (message, placed) in placed {
            self.answer(&message, &placed).await?;
            message.ack_with(AckKind::Ack).await.map_err(anyhow::Error::from_boxed)?;
            self.publish(placed).await?;
        }
        Ok(())
    }

    async fn answer(&self, message: &Message, placed: &Placed) -> Result<()> {
        let receipt = Receipt {
            command: format!("order.place-order/{}", placed.order_id),
            state: State::Completed.into(),
            consistency_token: placed.token.clone(),
            replayed: false,
        };
        let outcome = Some(deliver_response::Outcome::Response(placed.response.clone().into()));
        let response = DeliverResponse { receipt: Some(receipt), outcome };
        let reply_to = header(message, "millrace-reply")?.to_owned();
        Ok(self.client.publish(reply_to, response.encode_to_vec().into()).await?)
    }

    async fn publish(&self, placed: Placed) -> Result<()> {
        let id = placed.event_id;
        let message = PublishMessage::build().headers(headers(&placed)?).message_id(id.to_string());
        let message = message.payload(placed.event.into());
        let ack = self.context.send_publish(format!("{EVENTS_SUBJECT}.{}", placed.order_id), message).await?;
        let published = self.published.0.clone();
        tokio::spawn(async move {
            if ack.await.is_ok() {
                let _ = published.send(id);
            }
        });
        Ok(())
    }
}

fn place(message: &Message) -> Result<Placed> {
    let statement = open_seal(header(message, "millrace-seal")?, &message.payload)?;
    let request = proto::order::v1::PlaceOrderRequest::decode(message.payload.clone())?;
    Placed::new(&statement, &request, header(message, "traceparent")?)
}

fn header<'m>(message: &'m Message, name: &str) -> Result<&'m str> {
    let value = message.headers.as_ref().and_then(|headers| headers.get(name));
    value.map(HeaderValue::as_str).with_context(|| format!("no header {name}"))
}

/// CloudEvents, as the real ones.
fn headers(placed: &Placed) -> Result<HeaderMap> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(placed.time) * 1000)?.format(&Rfc3339)?;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", placed.event_id.to_string()),
        ("ce-type", "millrace.order.v1.OrderCreated".to_owned()),
        ("ce-source", "AAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        ("ce-subject", placed.key.clone()),
        ("ce-time", time),
        ("ce-sequence", "1".to_owned()),
        ("ce-epoch", "1".to_owned()),
        ("ce-history", super::id(0, &placed.history)),
        ("ce-principal", placed.principal.clone()),
        ("ce-commandid", placed.order_id.clone()),
        ("traceparent", placed.traceparent.clone()),
    ] {
        headers.insert(name, value);
    }
    Ok(headers)
}
