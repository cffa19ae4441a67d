//! A gateway with a real broker, and an owner of everything that says what a test wants.

pub mod owner;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use event::{Id, Micros};
use futures::StreamExt as _;
use identity::{Claims, Issuer, MasterKey, Sealer, SigningKey, Verifier};
use messaging::queue::Queue;
use messaging::{Broker, Client, Streams};
use millrace_gateway::{Config, Deps, Error, Limits};
use proto::Message as _;
use proto::command::v1::command_service_client::CommandServiceClient;
use proto::command::v1::{GetCommandRequest, GetCommandResponse, Receipt};
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::{PlaceOrderRequest, place_order_request::Line};
use ring::rand::SystemRandom;
use secrecy::ExposeSecret as _;
use testkit::NatsServer;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Request, Status};

use owner::Owner;

pub const NAMESPACE: &str = "ns";

/// Longer than a short deadline.
const STALL: Duration = Duration::from_millis(60);

pub struct World {
    pub nats: NatsServer,
    pub client: Client,
    pub streams: Streams,
    pub owner: Owner,
    pub address: String,
    pub channel: Channel,
    pub stop: Option<oneshot::Sender<()>>,
    pub gateway: JoinHandle<Result<(), Error>>,
    /// The machine has something else to do when the gateway next looks at the clock, which is when a call comes in.
    pub stalls: Arc<AtomicBool>,
    key: SigningKey,
    now: millrace_gateway::Now,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let nats = NatsServer::start().await;
        let broker = Broker { url: nats.url(), namespace: NAMESPACE.to_owned(), replicas: 1 };
        let client = messaging::connect(&broker, "gateway").await.unwrap();
        messaging::reached(&client, &broker.url, Duration::from_secs(10)).await.unwrap();
        let streams = Streams::new(client.clone(), &broker);
        let master = MasterKey::draw(&SystemRandom::new()).unwrap();
        let key = SigningKey::draw(&SystemRandom::new()).unwrap();
        let owner = Owner::start(key.clone(), Verifier::new(master.owner("order")));
        let mut config = config(&owner.endpoint);
        configure(&mut config);
        let (incoming, address) = serve::transport::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let stalls = Arc::<AtomicBool>::default();
        let now = clock(Arc::clone(&stalls));
        let (stop, stopped) = oneshot::channel::<()>();
        let deps = deps(&master, &broker, &client, Arc::clone(&now)).await;
        let gateway = tokio::spawn(millrace_gateway::run(config, deps, incoming, async {
            stopped.await.ok();
        }));
        let address = address.to_string();
        let channel = serve::transport::channel(&format!("http://{address}"), None).unwrap();
        Self { nats, client, streams, owner, address, channel, stop: Some(stop), gateway, stalls, key, now }
    }

    /// The same, with a queue for the commands of `order`.
    pub async fn with_queue() -> Self {
        let world = Self::new().await;
        world.streams.ensure_commands("order").await.unwrap();
        world
    }

    pub fn orders(&self) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.channel.clone())
    }

    pub fn commands(&self) -> CommandServiceClient<Channel> {
        CommandServiceClient::new(self.channel.clone())
    }

    pub fn token(&self, user: u8) -> String {
        let issued_at = (self.now)();
        let expires_at = issued_at.plus(Duration::from_mins(10));
        let claims = Claims { user: id(user), session: id(100 + user), roles: Vec::new(), issued_at, expires_at };
        Issuer::new(self.key.clone()).issue(&claims).unwrap().expose_secret().to_owned()
    }

    /// A call of user 1.
    pub fn call<T>(&self, message: T) -> Request<T> {
        self.call_of(1, message)
    }

    pub fn call_of<T>(&self, user: u8, message: T) -> Request<T> {
        with(Request::new(message), "authorization", &format!("Bearer {}", self.token(user)))
    }

    pub async fn get_command(&self, user: u8, name: &str) -> Result<GetCommandResponse, Status> {
        let request = GetCommandRequest { command: name.to_owned() };
        self.commands().get_command(self.call_of(user, request)).await.map(tonic::Response::into_inner)
    }

    /// Answers commands as they are published, and leaves them queued: as an owner does whose acknowledgement is slow.
    pub async fn answer_commands(&self) {
        let mut published = self.client.subscribe(format!("{NAMESPACE}.cmd.>")).await.unwrap();
        self.client.flush().await.unwrap();
        let (client, owner) = (self.client.clone(), self.owner.clone());
        tokio::spawn(async move {
            while let Some(message) = published.next().await {
                let header = |name: &str| message.headers.as_ref().unwrap().get(name).unwrap().as_str().to_owned();
                let seal = identity::seal::from_text(&header("millrace-seal")).unwrap();
                let outcome = owner.judge(&seal, &message.payload);
                client.publish(header("millrace-reply"), outcome.encode_to_vec().into()).await.unwrap();
            }
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.owner.stop();
    }
}

pub fn id(n: u8) -> Id {
    Id::timed(u64::from(n), [n; 10])
}

pub fn order(quantity: i32) -> PlaceOrderRequest {
    PlaceOrderRequest {
        lines: vec![Line { sku: "tea".to_owned(), quantity }],
        payment_method_id: id(7).to_string(),
        expected_total: None,
    }
}

pub fn with<T>(mut request: Request<T>, name: &'static str, value: &str) -> Request<T> {
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

/// The reason in the `ErrorInfo`, which every error must have.
pub fn reason(status: &Status) -> String {
    let infos: Vec<proto::rpc::ErrorInfo> = details(status, "google.rpc.ErrorInfo");
    assert_eq!(infos.len(), 1, "{status:?}");
    assert_eq!(infos[0].domain, "millrace");
    infos[0].reason.clone()
}

pub fn receipt(status: &Status) -> Receipt {
    details(status, "millrace.command.v1.Receipt").remove(0)
}

pub fn details<M: proto::Message + Default>(status: &Status, name: &str) -> Vec<M> {
    let details = proto::rpc::Status::decode(status.details()).unwrap().details;
    let named = details.iter().filter(|any| any.type_url == format!("type.googleapis.com/{name}"));
    named.map(|any| M::decode(any.value.as_slice()).unwrap()).collect()
}

fn config(endpoint: &str) -> Config {
    Config {
        namespace: NAMESPACE.to_owned(),
        endpoints: ["order", "registration"].map(|domain| (domain.to_owned(), endpoint.to_owned())).into(),
        descriptors: Vec::new(),
        allowed_origins: Vec::new(),
        tls: None,
        onward_tls: None,
        limits: Limits { answer_wait: Duration::from_millis(300), ..Limits::default() },
    }
}

async fn deps(master: &MasterKey, broker: &Broker, client: &Client, now: millrace_gateway::Now) -> Deps {
    let pair = |domain: &str| (domain.to_owned(), master.owner(domain).pair("gateway"));
    let (queue, replies) = Queue::open(client.clone(), broker).await.unwrap();
    let sealer = Sealer::new("gateway", ["order", "registration"].map(pair));
    let random = ring::rand::SystemRandom::new();
    let chance = move || ring::rand::generate(&random).unwrap().expose();
    Deps { sealer, queue, replies, now, chance: Arc::new(chance) }
}

/// A clock that goes, but not by today's date.
fn clock(stalls: Arc<AtomicBool>) -> millrace_gateway::Now {
    let start = Instant::now();
    Arc::new(move || {
        if stalls.swap(false, Ordering::Relaxed) {
            std::thread::sleep(STALL);
        }
        Micros(1_700_000_000_000_000).plus(start.elapsed())
    })
}
