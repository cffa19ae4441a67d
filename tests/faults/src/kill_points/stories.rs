//! What people do in a shop, whoever dies meanwhile. They begin with empty databases, and retry until they know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use millrace::Role;
use millrace::demo::{Customer, Person};
use millrace::operator::Selection;
use prost_types::FieldMask;
use proto::billing::v1::AddPaymentMethodRequest;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::command::v1::{Receipt, State};
use proto::order::v1::OrderStatus;
use proto::user::v1::user_service_client::UserServiceClient;
use proto::user::v1::{GetProfileRequest, Profile, UpdateProfileRequest};
use sea_orm::ConnectionTrait as _;
use testkit::within;

use super::checks::all_but_one_are_quiet;
use super::plan::Story;
use super::shop::Shop;
use crate::{may_still_happen, retry};

/// For a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What people have done, as they know it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The ids of their orders.
    pub(super) orders: BTreeSet<String>,
    /// How many commands were sent under a key, each counted once however often it was retried.
    commands: BTreeMap<Role, i64>,
}

impl Done {
    pub(super) fn commands(&self, role: Role) -> i64 {
        self.commands.get(&role).copied().unwrap_or_default()
    }

    fn add(&mut self, role: Role, commands: usize) {
        *self.commands.entry(role).or_default() += i64::try_from(commands).unwrap();
    }
}

/// Tells the story that brings the shop's victim to its point.
pub(super) async fn tell(shop: &Shop) -> Done {
    let (mut done, victim) = (Done::default(), shop.site.role);
    shop.streams_are_made().await;
    match shop.site.story() {
        Story::Working | Story::LeftOver => work(shop, &mut done).await,
        Story::Queued => {
            queue(shop, &mut done).await;
            work(shop, &mut done).await;
        }
        Story::Stopping => stop_in_between(shop, &mut done).await,
        Story::Late => {
            let people = if shop.site.is_late() { come_late(shop).await } else { be_away(shop, &mut done).await };
            shop.purge_events().await;
            shop.start(victim);
            go_on(shop, people, &mut done).await;
        }
        Story::Poison => {
            let people = be_away(shop, &mut done).await;
            hide(shop, victim).await;
            shop.start(victim);
            redrive(shop, &mut done).await;
            go_on(shop, people, &mut done).await;
        }
        Story::Deadline => be_too_late(shop, &mut done).await,
    }
    done
}

/// What people ask for while the victim is away is accepted, and they never ask again. The gateway forgets it, so it is in the queue alone.
async fn queue(shop: &Shop, done: &mut Done) {
    let (people, victim) = (people(shop, "patient").await, shop.site.role);
    let card = if victim == Role::Order { add_card(&people[0], "tok_approved").await } else { String::new() };
    let profiles = if victim == Role::User { join_all(people.iter().map(profile)).await } else { Vec::new() };
    shop.stop(victim).await;
    let asked = if victim == Role::Order {
        done.add(Role::Billing, 1);
        join_all(["a", "b", "c"].map(|key| order(&people[0], key, &card))).await
    } else {
        join_all(people.iter().zip(&profiles).map(|(person, profile)| update(person, profile))).await
    };
    done.add(victim, asked.len());
    assert!(asked.iter().all(|receipt| receipt.state() == State::Accepted), "somebody answered: {asked:?}");
    shop.kill(Role::Gateway);
    shop.start(victim);
    for (receipt, person) in asked.iter().zip(people.iter().cycle()) {
        let person = if victim == Role::Order { &people[0] } else { person };
        within(PATIENCE, "what was accepted ends", async || {
            let waited = person.wait_command(&receipt.command).await.ok().and_then(|waited| waited.receipt);
            waited.is_some_and(|receipt| receipt.state() == State::Completed)
        })
        .await;
    }
    if victim == Role::Order {
        done.orders.extend(asked.iter().map(id_in));
    }
}

fn id_in(receipt: &Receipt) -> String {
    receipt.command.rsplit('/').next().unwrap().to_owned()
}

/// People come, and do what concerns the victim.
async fn work(shop: &Shop, done: &mut Done) {
    if shop.site.shop().contains(&Role::User) {
        for person in people(shop, "newcomer").await {
            update_profile(&person, done).await;
        }
    } else {
        let customer = enter(shop, "customer").await;
        buy_with_every_card(&customer, done).await;
    }
}

/// With each kind of card, all at once; two orders are canceled while they are being paid.
async fn buy_with_every_card(customer: &Customer, done: &mut Done) {
    let bought = ["tok_approved", "tok_declined", "tok_timeout", "tok_late"].map(|token| async move {
        let card = add_card(customer, token).await;
        let (kept, canceled) = (format!("{token}-kept"), format!("{token}-canceled"));
        let cancels = matches!(token, "tok_approved" | "tok_late");
        let keys = if cancels { vec![kept, canceled] } else { vec![kept] };
        let orders = keys.iter().map(|key| place(customer, key, &card));
        let ids = join_all(orders).await;
        if cancels {
            cancel(customer, &ids[1]).await;
        }
        (ids, usize::from(cancels))
    });
    for (ids, cancels) in join_all(bought).await {
        done.add(Role::Billing, 1);
        done.add(Role::Order, ids.len() + cancels);
        done.orders.extend(ids);
    }
}

/// A payment method, which the customer has once however often it was asked for.
async fn add_card(customer: &Customer, token: &str) -> String {
    let (card_token, country) = (token.to_owned(), "DE".to_owned());
    let request = AddPaymentMethodRequest { card_token, country, label: "my card".to_owned() };
    let call = || async {
        let request = customer.request(request.clone(), Some(token))?;
        BillingServiceClient::new(customer.channel()).add_payment_method(request).await
    };
    retry(call).await.into_inner().payment_method.unwrap().payment_method_id
}

/// The order's id, once the order has been placed. Asking again under the same key, it must be the same each time.
async fn place(customer: &Customer, key: &str, card: &str) -> String {
    let mut id = None;
    loop {
        let receipt = order(customer, key, card).await;
        let told = id_in(&receipt);
        assert_eq!(*id.get_or_insert_with(|| told.clone()), told, "one key came to two orders");
        if receipt.state() == State::Completed {
            return told;
        }
    }
}

async fn order(customer: &Customer, key: &str, card: &str) -> Receipt {
    retry(|| customer.place(key, "teapot", 1, card)).await.0.receipt.unwrap()
}

/// Whether it comes in time or not, it ends.
async fn cancel(customer: &Customer, order: &str) {
    let key = format!("cancel {order}");
    loop {
        match customer.cancel(&key, order).await {
            Ok(canceled) if canceled.receipt.as_ref().unwrap().state() == State::Accepted => {}
            Err(status) if may_still_happen(&status) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(_) | Err(_) => return,
        }
    }
}

async fn enter(shop: &Shop, name: &str) -> Customer {
    let address = format!("{name}@example.com");
    let person = Person { address: &address, password: "a password of some length", name, country: "DE" };
    retry(|| Customer::enter(shop.gateway(), &person)).await
}

/// Three of them, so that what happens to each happens three times.
async fn people(shop: &Shop, name: &str) -> Vec<Customer> {
    join_all(["a", "b", "c"].map(|which| async move { enter(shop, &format!("{name}-{which}")).await })).await
}

async fn update_profile(person: &Customer, done: &mut Done) {
    let profile = profile(person).await;
    while update(person, &profile).await.state() != State::Completed {}
    done.add(Role::User, 1);
}

/// With the profile as it was: who asks again asks for the same.
async fn update(person: &Customer, profile: &Profile) -> Receipt {
    let request = UpdateProfileRequest {
        profile: Some(Profile { locale: "fr".to_owned(), ..profile.clone() }),
        update_mask: Some(FieldMask { paths: vec!["locale".to_owned()] }),
    };
    let call = || async {
        let request = person.request(request.clone(), Some("locale"))?;
        UserServiceClient::new(person.channel()).update_profile(request).await
    };
    retry(call).await.into_inner().receipt.unwrap()
}

/// It appears a moment after the account.
async fn profile(person: &Customer) -> Profile {
    let mut found = None;
    within(PATIENCE, "the profile appears", async || {
        let request = person.request(GetProfileRequest::default(), None).unwrap();
        let answer = UserServiceClient::new(person.channel()).get_profile(request).await;
        found = answer.ok().and_then(|answer| answer.into_inner().profile);
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// The victim is told to stop after the first of many calls that are under way, and started again.
async fn stop_in_between(shop: &Shop, done: &mut Done) {
    if shop.site.shop().contains(&Role::User) {
        let names: Vec<_> = (0..6).map(|number| format!("customer-{number}")).collect();
        let mut entering: FuturesUnordered<_> = names.iter().map(|name| enter(shop, name)).collect();
        let first = entering.next().await.unwrap();
        let ((), _) = tokio::join!(restart(shop), entering.collect::<Vec<_>>());
        update_profile(&first, done).await;
        return;
    }
    let customer = enter(shop, "customer").await;
    let card = add_card(&customer, "tok_approved").await;
    let keys: Vec<_> = (0..12).map(|number| format!("order-{number}")).collect();
    let mut placing: FuturesUnordered<_> = keys.iter().map(|key| place(&customer, key, &card)).collect();
    done.orders.extend(placing.next().await);
    let ((), rest) = tokio::join!(restart(shop), placing.collect::<Vec<_>>());
    done.orders.extend(rest);
    done.add(Role::Order, keys.len());
    done.add(Role::Billing, 1);
}

async fn restart(shop: &Shop) {
    shop.stop(shop.site.role).await;
    shop.start(shop.site.role);
}

/// The victim is not there yet, and misses something of each of three people. They are told when all others know.
async fn come_late(shop: &Shop) -> Vec<Customer> {
    let people = people(shop, "customer").await;
    all_but_one_are_quiet(shop, shop.site.role).await;
    people
}

/// The victim is stopped, and misses something of each of three people. They are told when all others know.
async fn be_away(shop: &Shop, done: &mut Done) -> Vec<Customer> {
    let victim = shop.site.role;
    let before = people(shop, "customer").await;
    if victim == Role::Registration {
        join_all(before.iter().map(profile)).await;
    }
    shop.stop(victim).await;
    let people = if victim == Role::Registration {
        for person in &before {
            update_profile(person, done).await;
        }
        before
    } else {
        people(shop, "newcomer").await
    };
    all_but_one_are_quiet(shop, victim).await;
    people
}

/// Now that the victim is back, they do what they could not.
async fn go_on(shop: &Shop, people: Vec<Customer>, done: &mut Done) {
    match shop.site.role {
        Role::Registration => {}
        Role::User => update_profile(&people[0], done).await,
        _ => {
            let card = add_card(&people[0], "tok_approved").await;
            done.orders.insert(place(&people[0], "order", &card).await);
            done.add(Role::Order, 1);
            done.add(Role::Billing, 1);
        }
    }
}

/// The table in which a service keeps what it hears of people.
const fn table(role: Role) -> &'static str {
    match role {
        Role::Registration => "locale",
        Role::User => "profile",
        _ => "customer",
    }
}

async fn hide(shop: &Shop, role: Role) {
    change(shop, role, &format!("alter table {} rename to hidden", table(role))).await;
}

async fn change(shop: &Shop, role: Role, statement: &str) {
    let database = shop.database(role).await;
    within(PATIENCE, statement, async || database.execute_unprepared(statement).await.is_ok()).await;
}

/// Waits until all three keys are parked, repairs what they failed at, and has them tried again; one of them is given up.
async fn redrive(shop: &Shop, done: &mut Done) {
    let victim = shop.site.role;
    within(PATIENCE, "three keys are parked", async || shop.count(victim, "parked").await == 3).await;
    change(shop, victim, &format!("alter table hidden rename to {}", table(victim))).await;
    let operator = shop.operator();
    let mut parked = Vec::new();
    within(PATIENCE, "what is parked is listed", async || {
        parked = operator.list(victim, &Selection::default()).await.unwrap_or_default();
        parked.len() == 3
    })
    .await;
    for (number, one) in parked.iter().enumerate() {
        // Nobody ever asks for a locale again.
        if number == 0 && victim == Role::Registration {
            operator.drop(one, "beyond repair").await.unwrap();
        } else {
            operator.redrive(one).await.unwrap();
        }
    }
    done.add(victim, parked.len());
}

/// Billing is away until the deadlines of three orders are over.
async fn be_too_late(shop: &Shop, done: &mut Done) {
    let customer = enter(shop, "customer").await;
    let card = add_card(&customer, "tok_approved").await;
    shop.stop(Role::Billing).await;
    let keys = ["a", "b", "c"];
    done.orders.extend(join_all(keys.map(|key| place(&customer, key, &card))).await);
    done.add(Role::Order, keys.len());
    done.add(Role::Billing, 1);
    within(PATIENCE, "the orders are canceled", async || {
        let Ok(orders) = customer.orders().await else { return false };
        orders.len() == keys.len() && orders.iter().all(|order| order.status() == OrderStatus::Canceled)
    })
    .await;
    shop.start(Role::Billing);
}
