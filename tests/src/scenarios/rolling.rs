//! Two versions of the order service on one database: the newer knows a command and an event that the older one lacks, and has raised the
//! version of its subscription. They are rolled forward, back and forward again, and then as chance has it, while customers go on buying.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use event::Schema;
use futures::future::{join, join_all, join3};
use identity::OwnerKeys;
use ledger::{Chance, Retry};
use millrace::demo::Customer;
use millrace::operator::Operator;
use millrace::{Role, Settings};
use order::Settings as OrderSettings;
use proto::command::v1::State;
use proto::order::v1::OrderStatus;
use serve::{Config, Signals};
use testkit::{changed_proto, eventually};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::server::TcpIncoming;

use crate::buying::{buy_surely, ended, retry};
use crate::invariants::everything_adds_up;
use crate::scenarios::operator::operator;
use crate::shop::{TestShop, master_key};

const SUBSCRIPTION: &str = "payments";

/// A version of the code of the order service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Cannot cancel, and has never heard that a payment may fail.
    Older = 1,
    Newer = 2,
}

use Version::{Newer, Older};

impl Version {
    fn service(self) -> serve::Service {
        match self {
            Older => order::service(older_schema(), OrderSettings::default()),
            Newer => order::service(Arc::new(Schema::embedded().unwrap()), OrderSettings::default())
                .raised(SUBSCRIPTION, Newer as i64),
        }
    }
}

fn older_schema() -> Arc<Schema> {
    let without = |proto: &str, begin: &str, end: &str| {
        let (before, after) = proto.split_once(begin).unwrap();
        format!("{before}{}", after.split_once(end).unwrap().1)
    };
    let (_order, order) =
        changed_proto("millrace/order/v1/order.proto", |proto| without(proto, "  rpc CancelOrder(", "\n  }\n"));
    let (_billing, billing) = changed_proto("millrace/billing/v1/billing.proto", |proto| {
        let (before, after) = proto.split_once("message PaymentFailed {\n").unwrap();
        format!("{before}message PaymentFailed {{\n{}", without(after, "  option (", "\n"))
    });
    let [order, billing] = [order, billing].map(|path| std::fs::read(path).unwrap());
    let schema = Schema::decode(&[proto::DESCRIPTORS, &order, &billing]).unwrap();
    assert!(schema.method("millrace.order.v1.OrderService/CancelOrder").is_none());
    assert!(schema.event("millrace.billing.v1.PaymentFailed").is_none());
    Arc::new(schema)
}

/// A shop whose order service is run in two versions, behind one address.
struct Rolling {
    shop: TestShop,
    operator: Operator,
    address: SocketAddr,
    older: Option<Instance>,
    newer: Option<Instance>,
    chance: Chance,
}

struct Instance {
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Rolling {
    /// With the older version alone.
    async fn start() -> Self {
        // Nobody listens here yet, and nobody else can: the port stays taken until the instances have it.
        let reserved = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let address = reserved.local_addr().unwrap();
        let shop = TestShop::on_postgres_without(Role::Order, |settings: &mut Settings| {
            settings.listen.insert(Role::Order, address);
            settings.endpoints.insert("order".to_owned(), format!("http://{address}"));
            settings.limits.answer_wait = Duration::from_millis(200);
            settings.limits.look_after = Duration::from_millis(200);
        })
        .await;
        let (operator, chance) = (operator(&shop), Chance::seeded([5; 32]));
        let mut this = Self { shop, operator, address, older: None, newer: None, chance };
        this.roll_out(Older).await;
        this
    }

    fn place(&mut self, version: Version) -> &mut Option<Instance> {
        match version {
            Older => &mut self.older,
            Newer => &mut self.newer,
        }
    }

    async fn roll_out(&mut self, version: Version) {
        let incoming = TcpIncoming::from(socket(self.address).listen(64).unwrap());
        let (stop, (ready, is_ready)) = (CancellationToken::new(), oneshot::channel());
        let (config, signals) = (self.config(), Signals { stop: stop.clone(), ready });
        let ended = tokio::spawn(async move {
            serve::run(version.service(), config, incoming, signals).await.unwrap();
        });
        is_ready.await.unwrap();
        *self.place(version) = Some(Instance { stop, ended });
    }

    async fn take_down(&mut self, version: Version) {
        let instance = self.place(version).take().unwrap();
        instance.stop.cancel();
        instance.ended.await.unwrap();
    }

    fn config(&self) -> Config {
        let settings = self.shop.settings();
        let called = Role::Order.calls().iter().map(|role| role.name().to_owned());
        Config {
            database: settings.database_of("order"),
            broker: settings.broker.clone(),
            keys: OwnerKeys::from(master_key().owner("order")),
            pair_keys: called.map(|owner| (owner.clone(), master_key().owner(&owner).pair("order"))).collect(),
            endpoints: settings.endpoints.clone(),
            tls: None,
            retry: Retry::default(),
        }
    }

    /// The operator's way back, and forth.
    async fn hand_over(&self, to: Version) {
        eventually("the subscription is handed over", async || {
            self.operator.hand_over(Role::Order, SUBSCRIPTION, to as i32).await.is_ok()
        })
        .await;
    }

    /// Which version does the subscription's work.
    async fn is_done_by(&self, version: Version) {
        eventually(&format!("{version:?} does the work"), async || {
            let standing = self.operator.standing(Role::Order).await;
            standing.is_ok_and(|standing| {
                standing.subscriptions.iter().any(|one| one.name == SUBSCRIPTION && one.version == version as i32)
            })
        })
        .await;
    }

    /// In the end the newer version is alone, and does the work.
    async fn end_with_newer(&mut self) {
        if self.newer.is_none() {
            self.roll_out(Newer).await;
        }
        self.hand_over(Newer).await;
        if self.older.is_some() {
            self.take_down(Older).await;
        }
        self.is_done_by(Newer).await;
    }

    /// One step that is allowed, whichever: an instance more or less, or a hand-over.
    async fn any_step(&mut self) {
        let version = if self.chance.below(2) == 0 { Older } else { Newer };
        match (self.chance.below(3), self.older.is_some() && self.newer.is_some()) {
            (0, _) => self.hand_over(version).await,
            (_, true) => self.take_down(version).await,
            (_, false) => {
                let missing = if self.older.is_none() { Older } else { Newer };
                self.roll_out(missing).await;
            }
        }
    }
}

/// Instances share the port: whoever connects comes to one of them.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Somebody who orders, and who cancels some of it.
struct Shopper {
    customer: Customer,
    card: String,
    ordered: Vec<String>,
    canceled: usize,
}

impl Shopper {
    async fn enter(shop: &TestShop, card: &str) -> Self {
        let customer = shop.customer().await;
        let card = customer.add_card(card, "DE").await.unwrap();
        Self { customer, card, ordered: Vec::new(), canceled: 0 }
    }

    /// So many orders at once.
    async fn orders(&mut self, many: usize) {
        let keys = (0..many).map(|number| format!("order-{}", self.ordered.len() + number));
        let (customer, card) = (&self.customer, &self.card);
        let ordered = join_all(keys.map(async |key| buy_surely(customer, &key, card).await.1)).await;
        self.ordered.extend(ordered);
    }

    fn latest(&self) -> &str {
        self.ordered.last().unwrap()
    }

    /// Cancels the latest order. The state in which the command is left for now; None: it came too late, or before its order.
    async fn cancels(&mut self) -> Option<State> {
        self.canceled += 1;
        let canceled =
            retry(async || match self.customer.cancel(&format!("cancel {}", self.latest()), self.latest()).await {
                Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::PermissionDenied) => Ok(None),
                canceled => canceled.map(Some),
            });
        canceled.await.map(|canceled| canceled.receipt.unwrap().state())
    }

    /// How the latest order stands.
    async fn stands(&self) -> OrderStatus {
        let orders = retry(|| self.customer.orders()).await;
        orders.iter().find(|order| order.order_id == self.latest()).unwrap().status()
    }

    /// Each order has come to one of these ends.
    async fn all_ended(&self, ends: &[OrderStatus]) {
        for id in &self.ordered {
            let end = ended(&self.customer, id).await;
            assert!(ends.contains(&end), "order {id} ended {end:?}");
        }
    }
}

const PAID: [OrderStatus; 1] = [OrderStatus::Processed];
const UNPAID: [OrderStatus; 2] = [OrderStatus::PaymentFailed, OrderStatus::Canceled];
/// Steps that chance chooses.
const STEPS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_of_a_service_are_rolled_forward_back_and_at_random_and_everything_ends_once() {
    let mut rolling = Rolling::start().await;
    let mut lucky = Shopper::enter(&rolling.shop, "tok_approved").await;
    let mut unlucky = Shopper::enter(&rolling.shop, "tok_declined").await;

    // The older one serves, and what it does not know waits.
    join(unlucky.orders(1), lucky.orders(8)).await;
    assert_eq!(unlucky.cancels().await, Some(State::Accepted));
    lucky.all_ended(&PAID).await;
    assert_eq!(unlucky.stands().await, OrderStatus::Pending);

    // Forward: both serve, and the newer one does what has waited.
    join(rolling.roll_out(Newer), lucky.orders(8)).await;
    rolling.is_done_by(Newer).await;
    join(unlucky.orders(4), lucky.orders(8)).await;
    unlucky.all_ended(&UNPAID).await;

    // Back, by the operator's command, and then the newer one goes.
    join(rolling.hand_over(Older), lucky.orders(8)).await;
    rolling.is_done_by(Older).await;
    join3(rolling.take_down(Newer), lucky.orders(8), unlucky.orders(1)).await;
    lucky.orders(1).await;
    lucky.all_ended(&PAID).await;
    assert_eq!(unlucky.stands().await, OrderStatus::Pending);

    // Forward again, and then as chance has it.
    join(rolling.roll_out(Newer), lucky.orders(8)).await;
    unlucky.all_ended(&UNPAID).await;
    for _ in 0..STEPS {
        join3(rolling.any_step(), lucky.orders(8), unlucky.orders(2)).await;
        unlucky.cancels().await;
    }

    rolling.end_with_newer().await;
    lucky.all_ended(&PAID).await;
    unlucky.all_ended(&UNPAID).await;
    everything_adds_up(&rolling.shop, lucky.ordered.len() + unlucky.ordered.len() + unlucky.canceled).await;
}
