//! The whole shop in one process, with a broker of its own and a database per service: what most scenarios begin with.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

use event::subject;
use identity::MasterKey;
use messaging::Broker;
use millrace::demo::{Customer, Person};
use millrace::{Role, Settings, Shop};
use sea_orm::{ConnectionTrait, DatabaseConnection, FromQueryResult, Statement};
use testkit::{NatsServer, Postgres, TempDir, eventually};
use tonic::transport::{Channel, Endpoint};

/// A running shop. Dropping it ends everything.
pub(crate) struct TestShop {
    shop: Shop,
    pub(crate) nats: NatsServer,
    _folder: TempDir,
    people: AtomicU32,
}

/// A master key like any other, the same in all tests, so that a test can seal as the gateway does.
pub(crate) fn master_key() -> MasterKey {
    "11".repeat(32).parse().unwrap()
}

impl TestShop {
    /// On SQLite.
    pub(crate) async fn start() -> Self {
        let folder = testkit::folder();
        let database = format!("sqlite://{}/{{service}}.db", folder.path().display());
        Self::on(database, folder, &Role::ALL, |_| {}).await
    }

    /// On SQLite, with settings of the test's own.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = testkit::folder();
        let database = format!("sqlite://{}/{{service}}.db", folder.path().display());
        Self::on(database, folder, &Role::ALL, change).await
    }

    /// On Postgres, with a schema per service.
    pub(crate) async fn on_postgres() -> Self {
        Self::on(postgres_template().await, testkit::folder(), &Role::ALL, |_| {}).await
    }

    /// On Postgres, without one of the services, which the test brings itself.
    pub(crate) async fn on_postgres_without(role: Role, change: impl FnOnce(&mut Settings)) -> Self {
        let roles: Vec<_> = Role::ALL.into_iter().filter(|one| *one != role).collect();
        Self::on(postgres_template().await, testkit::folder(), &roles, change).await
    }

    async fn on(database: String, folder: TempDir, roles: &[Role], change: impl FnOnce(&mut Settings)) -> Self {
        let nats = NatsServer::start().await;
        let broker = Broker { url: nats.url(), namespace: "test".to_owned(), replicas: 1 };
        let mut settings = Settings::local(database, broker, master_key());
        change(&mut settings);
        let shop = Shop::start(settings, roles).await.unwrap();
        streams_are_made(&nats, roles).await;
        Self { shop, nats, _folder: folder, people: AtomicU32::new(0) }
    }

    /// A connection to the gateway.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.shop.address(Role::Gateway))).unwrap().connect_lazy()
    }

    /// Somebody new, who lives in Germany.
    pub(crate) async fn customer(&self) -> Customer {
        let number = self.people.fetch_add(1, Ordering::Relaxed);
        let address = format!("customer-{number}@example.com");
        let person =
            Person { address: &address, password: "a password of some length", name: "Customer", country: "DE" };
        Customer::enter(self.channel(), &person).await.unwrap()
    }

    /// Somebody new, with a card that the provider approves.
    pub(crate) async fn customer_with_card(&self) -> (Customer, String) {
        let customer = self.customer().await;
        let card = customer.add_card("tok_approved", "DE").await.unwrap();
        (customer, card)
    }

    /// A look into a service's database, beside the service.
    pub(crate) async fn database(&self, service: &str) -> DatabaseConnection {
        let url = self.shop.settings().database_of(service);
        ledger::connect(&url).await.unwrap()
    }

    /// The rows of a statement on a service's database.
    pub(crate) async fn query<R: FromQueryResult>(&self, service: &str, sql: &str) -> Vec<R> {
        let database = self.database(service).await;
        let statement = Statement::from_string(database.get_database_backend(), sql);
        R::find_by_statement(statement).all(&database).await.unwrap()
    }
}

/// Orders one of a product, and gives the order's id.
pub(crate) async fn order_of(customer: &Customer, key: &str, sku: &str, card: &str) -> String {
    let (placed, _) = customer.place(key, sku, 1, card).await.unwrap();
    let command = placed.receipt.unwrap().command;
    command.rsplit('/').next().unwrap().to_owned()
}

/// Services serve before their streams are there, because they must do so while the broker is away. A scenario begins after that.
async fn streams_are_made(nats: &NatsServer, roles: &[Role]) {
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let is_there = |role: &Role| roles.contains(role);
    let commands = [Role::Registration, Role::User, Role::Order].into_iter().filter(is_there);
    let commands = commands.map(|role| subject::command_stream("test", role.name()));
    let events = Role::services().filter(is_there).map(|role| subject::event_stream("test", role.name()));
    for stream in events.chain(commands) {
        eventually(&format!("{stream} is made"), async || context.get_stream(&stream).await.is_ok()).await;
    }
}

/// The address of a fresh database with a schema for each service.
pub(crate) async fn postgres_template() -> String {
    let url = Postgres::database().await;
    let database = ledger::connect(&url).await.unwrap();
    for role in Role::services() {
        database.execute_unprepared(&format!("create schema \"{role}\"")).await.unwrap();
    }
    database.close().await.unwrap();
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options[search_path]={{service}}")
}

impl Deref for TestShop {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

impl DerefMut for TestShop {
    fn deref_mut(&mut self) -> &mut Shop {
        &mut self.shop
    }
}
