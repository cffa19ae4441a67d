use std::collections::BTreeMap;

use millrace::Role;
use proto::Message as _;
use proto::order::v1::Order;
use sea_orm::{DatabaseConnection, DbErr, FromQueryResult, Statement};
use testkit::is_settled;

use super::shop::Shop;

/// What all databases and the payment provider hold.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// By the service's name.
    pub services: BTreeMap<String, Service>,
    pub orders: Vec<Order>,
    pub charges: Vec<Charged>,
}

/// What a service's ledger holds.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// The newest revision of each key.
    pub heads: BTreeMap<String, i64>,
    /// The revisions in the log of each key, in their order.
    pub events: BTreeMap<String, Vec<i64>>,
    pub cursors: Vec<Cursor>,
    pub unpublished: i64,
    /// Effects that were neither answered nor withdrawn nor dropped.
    pub open_effects: Vec<String>,
    /// Commands without an outcome.
    pub open_receipts: Vec<String>,
}

#[derive(Clone, Debug, Default, FromQueryResult)]
pub struct Cursor {
    pub subscription: String,
    pub key: String,
    pub revision: i64,
    pub state: i16,
    pub reason: Option<String>,
}

/// A charge in the provider's books.
#[derive(Clone, Debug, Default)]
pub struct Charged {
    pub reference: String,
    pub order_id: String,
    /// Where it stands, as the provider says.
    pub declined: bool,
    /// What the customer has paid, all told.
    pub taken: i64,
}

impl Cursor {
    pub const FLOWING: i16 = 1;
    pub const PARKED: i16 = 3;
}

impl Books {
    /// Reads all of it. Whatever is at work meanwhile may show in one part and not in another.
    pub async fn read(shop: &Shop) -> Result<Self, DbErr> {
        let mut books = Self::default();
        for role in Role::services() {
            let database = connect(&shop.database(role)).await?;
            books.services.insert(role.name().to_owned(), Service::read(&database).await?);
            if role == Role::Order {
                books.orders = orders(&database).await?;
            }
            database.close().await?;
        }
        books.charges = charges(&shop.processes.provider).await?;
        Ok(books)
    }

    /// Who owns such a key.
    pub fn head(&self, key: &str) -> Option<i64> {
        self.services.values().find_map(|service| service.heads.get(key)).copied()
    }

    /// What is still to be done. Empty, once everything has come to rest.
    pub fn open(&self) -> Vec<String> {
        let mut open = Vec::new();
        for (name, service) in &self.services {
            if service.unpublished > 0 {
                open.push(format!("{name} has {} events unpublished", service.unpublished));
            }
            open.extend(service.open_effects.iter().map(|effect| format!("{name} has the effect {effect} open")));
            open.extend(service.open_receipts.iter().map(|id| format!("{name} has command {id} open")));
            let behind = service.cursors.iter().filter(|cursor| !self.is_at_its_end(cursor));
            open.extend(
                behind.map(|cursor| format!("{name}: {cursor:?}, and its owner is at {:?}", self.head(&cursor.key))),
            );
        }
        open.extend(self.unheard());
        let unsettled = self.orders.iter().filter(|order| !is_settled(order));
        open.extend(
            unsettled.map(|order| {
                format!("order {} is {:?} and {:?}", order.order_id, order.status(), order.payment_status())
            }),
        );
        open
    }

    /// It flows, and where it stands its owner's log ends.
    pub fn is_at_its_end(&self, cursor: &Cursor) -> bool {
        cursor.state == Cursor::FLOWING && self.head(&cursor.key).unwrap_or(0) == cursor.revision
    }

    /// Keys of which a subscription has not heard, although it has heard of others of their kind.
    pub fn unheard(&self) -> Vec<String> {
        let mut unheard = Vec::new();
        for (name, service) in &self.services {
            let mut heard: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
            for cursor in &service.cursors {
                let kind = cursor.key.split('/').next().unwrap_or_default();
                heard.entry((&cursor.subscription, kind)).or_default().push(&cursor.key);
            }
            for ((subscription, kind), mut keys) in heard {
                keys.sort_unstable();
                let kind = format!("{kind}/");
                let all =
                    self.services.values().flat_map(|owner| owner.heads.keys()).filter(|key| key.starts_with(&kind));
                let missing = all.filter(|key| keys.binary_search(&key.as_str()).is_err());
                unheard.extend(missing.map(|key| format!("{subscription} of {name} has never heard of {key}")));
            }
        }
        unheard
    }
}

impl Service {
    async fn read(database: &DatabaseConnection) -> Result<Self, DbErr> {
        let mut service = Self {
            cursors: query(database, "select subscription, key, revision, state, reason from cursor").await?,
            ..Self::default()
        };
        for Placed { key, revision } in query(database, "select key, revision from head").await? {
            service.heads.insert(key, revision);
        }
        for Placed { key, revision } in
            query(database, "select key, revision from event_log order by key, revision").await?
        {
            service.events.entry(key).or_default().push(revision);
        }
        let unpublished: Vec<Placed> =
            query(database, "select '' as key, count(*) as revision from event_log where published_at is null").await?;
        service.unpublished = unpublished.iter().map(|one| one.revision).sum();
        // Neither answered nor withdrawn nor dropped.
        service.open_effects =
            names(database, "select key || ' ' || kind || ' ' || n as name from effect where state not in (3, 4, 6)")
                .await?;
        // Neither COMPLETED nor REJECTED.
        service.open_receipts =
            names(database, "select command_id as name from receipt where state not in (2, 3)").await?;
        Ok(service)
    }
}

#[derive(FromQueryResult)]
struct Placed {
    key: String,
    revision: i64,
}

#[derive(FromQueryResult)]
struct Named {
    name: String,
}

#[derive(FromQueryResult)]
struct View {
    view: Vec<u8>,
}

async fn names(database: &DatabaseConnection, sql: &str) -> Result<Vec<String>, DbErr> {
    Ok(query::<Named>(database, sql).await?.into_iter().map(|row| row.name).collect())
}

async fn orders(database: &DatabaseConnection) -> Result<Vec<Order>, DbErr> {
    let rows: Vec<View> = query(database, "select view from order_view").await?;
    Ok(rows.iter().map(|row| Order::decode(row.view.as_slice()).unwrap()).collect())
}

async fn query<R: FromQueryResult>(database: &DatabaseConnection, sql: &str) -> Result<Vec<R>, DbErr> {
    R::find_by_statement(Statement::from_string(database.get_database_backend(), sql)).all(database).await
}

async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    ledger::connect(url).await.map_err(|error| DbErr::Custom(error.to_string()))
}

async fn charges(provider: &str) -> Result<Vec<Charged>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        reference: String,
        order_id: String,
        minor: i64,
        state: i16,
    }
    let database = connect(provider).await?;
    let rows: Vec<Row> = query(&database, "select reference, order_id, minor, state from simulated_charge").await?;
    database.close().await?;
    let charge = |row: Row| {
        let state = |is: billing::ChargeState| row.state == is as i16;
        let taken = if state(billing::ChargeState::Taken) { row.minor } else { 0 };
        Charged {
            declined: state(billing::ChargeState::Declined),
            taken,
            reference: row.reference,
            order_id: row.order_id,
        }
    };
    Ok(rows.into_iter().map(charge).collect())
}
