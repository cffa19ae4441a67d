//! The table of events: which there are, of which aggregate, and who consumes them. It keeps the protos and the subscriptions in step: an
//! event that is not here, or a subscription to one that nobody publishes, fails. That each is really sent is shown by a scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{Access, Delivery, Kind, Method, Schema};
use ledger::Subscription;
use millrace::Role;

/// The event, its key's aggregate, its publisher, and the services that subscribe to it.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

pub(crate) const EVENTS: &[Row] = &[
    ("registration-new", "account", "registration", &["user", "order", "billing"]),
    ("staff-granted", "account", "registration", &[]),
    ("staff-revoked", "account", "registration", &[]),
    ("login-success", "session", "registration", &["user", "order", "billing"]),
    ("logout-success", "session", "registration", &["user", "order", "billing"]),
    ("signing-key-published", "signing-key", "registration", &[]),
    ("user-updated", "user", "user", &["registration", "order", "billing"]),
    ("order-created", "order", "order", &["billing"]),
    ("order-processed", "order", "order", &[]),
    ("order-canceled", "order", "order", &["billing"]),
    ("order-payment-changed", "order", "order", &[]),
    ("payment-method-added", "payment-method", "billing", &[]),
    ("payment-requested", "payment", "billing", &[]),
    ("payment-processed", "payment", "billing", &["order"]),
    ("payment-failed", "payment", "billing", &["order"]),
    ("payment-voided", "payment", "billing", &["order"]),
    ("payment-cancel-requested", "payment", "billing", &[]),
    ("payment-refund-requested", "payment", "billing", &["order"]),
    ("payment-refunded", "payment", "billing", &["order"]),
];

#[test]
fn the_protos_declare_the_events_of_the_table() {
    let schema = Schema::embedded().unwrap();
    let declared: BTreeSet<_> =
        schema.events().map(|kind| (kind.kebab.as_str(), kind.aggregate.as_str(), kind.domain.as_str())).collect();
    let listed: BTreeSet<_> =
        EVENTS.iter().map(|(kebab, aggregate, domain, _)| (*kebab, *aggregate, *domain)).collect();
    assert_eq!(declared, listed);
}

#[test]
fn an_aggregate_s_kind_has_one_owner() {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, aggregate, domain, _) in EVENTS {
        assert_eq!(owners.entry(aggregate).or_insert(domain), domain, "{aggregate} has two owners");
    }
}

#[tokio::test]
async fn subscriptions_are_those_of_the_table() {
    let mut subscribed: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (service, subscriptions) in services().await {
        for name in subscriptions.iter().flat_map(|(types, _)| types) {
            subscribed.entry(event::subject::kebab(name)).or_default().insert(service);
        }
    }
    for (kebab, _, _, consumers) in EVENTS {
        let found = subscribed.remove(*kebab).unwrap_or_default();
        assert_eq!(found, consumers.iter().copied().collect(), "the consumers of {kebab}");
    }
    assert!(subscribed.is_empty(), "nobody publishes {subscribed:?}");
}

#[tokio::test]
async fn services_call_only_those_whose_events_they_follow_or_whose_commands_are_queued() {
    let schema = Schema::embedded().unwrap();
    let queued = |method: &&Method| {
        let durable = method.kind == Kind::Command && method.delivery == Delivery::Durable;
        durable && method.access != Access::Internal
    };
    let owners: BTreeSet<_> = schema.methods().filter(queued).map(|method| method.domain.clone()).collect();
    for (service, subscriptions) in services().await {
        let followed = subscriptions.into_iter().flat_map(|(_, domains)| domains);
        let followed: BTreeSet<_> = followed.chain(owners.iter().cloned()).filter(|domain| domain != service).collect();
        let role: Role = service.parse().unwrap();
        let called: BTreeSet<_> = role.calls().iter().map(|role| role.name().to_owned()).collect();
        assert_eq!(called, followed, "whom {service} calls, and whom it follows");
    }
}

#[tokio::test]
async fn every_method_has_a_handler_of_its_kind() {
    for role in Role::services() {
        let service = build(role).await;
        assert_eq!(service.missing(), Vec::<String>::new(), "{role}");
    }
}

/// Each service's subscriptions: the types that they handle, and the domains that they follow.
async fn services() -> Vec<(&'static str, Vec<(Vec<String>, Vec<String>)>)> {
    let mut services = Vec::new();
    for role in Role::services() {
        let service = build(role).await;
        let types = |subscription: &Subscription| subscription.types().map(str::to_owned).collect();
        let domains =
            |subscription: &Subscription| subscription.follows().into_iter().map(|followed| followed.domain).collect();
        services.push((role.name(), service.subscriptions().map(|one| (types(one), domains(one))).collect()));
    }
    services
}

async fn build(role: Role) -> serve::Service {
    let folder = testkit::folder();
    let provider = format!("sqlite://{}/provider.db", folder.path().display());
    let order = order::Settings::default();
    role.service(Arc::new(Schema::embedded().unwrap()), &provider, order).await.unwrap().unwrap()
}
