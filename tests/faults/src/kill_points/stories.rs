//! What people do in a shop, whoever dies meanwhile. They begin with empty databases, and retry until they know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use millrace::Role;
use millrace::demo::Customer;
use proto::command::v1::State;
use proto::order::v1::OrderStatus;
use testkit::within;

use super::checks::all_but_one_are_quiet;
use super::people::{add_card, cancel, enter, id_in, order, place, profile, update};
use super::plan::Story;
use super::poison::{hide, redrive};
use super::shop::Shop;

/// For a slow machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

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

    pub(super) fn add(&mut self, role: Role, commands: usize) {
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
    let asked = if victim == Role::Order {
        let cards = join_all(people.iter().map(|person| add_card(person, "tok_approved"))).await;
        done.add(Role::Billing, cards.len());
        shop.stop(victim).await;
        join_all(people.iter().zip(&cards).map(|(person, card)| order(person, "patient", card))).await
    } else {
        let profiles = join_all(people.iter().map(profile)).await;
        shop.stop(victim).await;
        join_all(people.iter().zip(&profiles).map(|(person, profile)| update(person, profile))).await
    };
    assert!(asked.iter().all(|receipt| receipt.state() == State::Accepted), "somebody answered: {asked:?}");
    done.add(victim, asked.len());
    if victim == Role::Order {
        done.orders.extend(asked.iter().map(id_in));
    }
    shop.kill(Role::Gateway);
    shop.start(victim);
    for (person, receipt) in people.iter().zip(&asked) {
        within(PATIENCE, "what was accepted ends", async || {
            let waited = person.wait_command(&receipt.command).await.ok().and_then(|waited| waited.receipt);
            waited.is_some_and(|receipt| receipt.state() == State::Completed)
        })
        .await;
    }
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

/// Three of them, so that what happens to each happens three times.
async fn people(shop: &Shop, name: &str) -> Vec<Customer> {
    join_all(["a", "b", "c"].map(|which| async move { enter(shop, &format!("{name}-{which}")).await })).await
}

async fn update_profile(person: &Customer, done: &mut Done) {
    let profile = profile(person).await;
    while update(person, &profile).await.state() != State::Completed {}
    done.add(Role::User, 1);
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
