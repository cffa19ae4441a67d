//! The owner's side of the queue, against a real nats-server.

use std::sync::Arc;
use std::time::Duration;

use event::{Id, Schema};
use futures::FutureExt as _;
use ledger::{Chance, Clock, Database, Handlers, Ledger, Parts, Retry, migrations};
use millrace_messaging::queue::{Command, Queue};
use millrace_messaging::{Broker, CommandLoop, Committed, Lanes, Streams, Tasks};
use testkit::NatsServer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A service that has nothing to do.
async fn idle(folder: &testkit::TempDir) -> Ledger {
    let url = format!("sqlite://{}", folder.path().join("idle.db").display());
    let parts = Parts {
        db: Database::open(&url, migrations()).await.unwrap(),
        handlers: Handlers::default(),
        schema: Arc::new(Schema::embedded().unwrap()),
        name: "order".to_owned(),
        clock: Clock::Database,
        chance: Chance::seeded([1; 32]),
        state: Arc::new(()),
        retry: Retry::default(),
    };
    Ledger::open(parts).await.unwrap()
}

fn command(n: u8) -> Command {
    Command {
        method: "millrace.order.v1.OrderService/PlaceOrder".to_owned(),
        id: Id::timed(1, [n; 10]),
        seal: String::new(),
        key: None,
        consistency_token: None,
        body: "body".into(),
    }
}

/// Acknowledged earlier, it would be lost with the process that had it.
#[tokio::test]
async fn a_command_that_is_under_way_is_not_acknowledged() {
    let (server, folder) = (NatsServer::start().await, testkit::folder());
    let broker = Broker { url: server.url(), namespace: "ns".to_owned(), replicas: 1 };
    let client = millrace_messaging::connect(&broker, "test").await.unwrap();
    millrace_messaging::reached(&client, &broker.url, Duration::from_secs(10)).await.unwrap();
    let (streams, ledger) = (Streams::new(client.clone(), &broker), idle(&folder).await);
    streams.ensure_commands("order").await.unwrap();
    let (stop, tasks) = (CancellationToken::new(), Tasks::new());
    let (taken, mut is_taken) = mpsc::unbounded_channel();
    let commands = CommandLoop {
        domain: "order".to_owned(),
        lanes: Lanes::start(&ledger, &Committed::new().0, &tasks),
        broker: broker.clone(),
        wire: Arc::new(streams.clone()),
        // None of them ever comes to a commit.
        intake: Arc::new(move |incoming| {
            taken.send(incoming.id).unwrap();
            std::future::pending().boxed()
        }),
    };
    let running = tokio::spawn(commands.run(streams, stop, tasks));

    let (queue, _replies) = Queue::open(client.clone(), &broker).await.unwrap();
    for n in 1..=2 {
        queue.publish(command(n), &queue.expect_reply()).await.unwrap();
        assert_eq!(is_taken.recv().await.unwrap(), Some(command(n).id));
    }
    let stream = async_nats::jetstream::new(client).get_stream("ns_cmd_order").await.unwrap();
    let waiting = stream.consumer_info("order").await.unwrap().num_ack_pending;
    assert_eq!(waiting, 2, "what is under way is not acknowledged before its commit: it would be lost in a crash");
    running.abort();
}
