//! The first death at each point of each role; `make kill-points` has the others.
#![cfg(test)]

use fault::Point;
use futures::StreamExt as _;
use millrace::Role;
use millrace_faults::kill_points::{Case, Keep, Site, Verdict, survive};
use testkit::NatsServer;

/// Where a role takes something in.
const TAKING: [Point; 4] = [Point::LaneReceived, Point::BeforeCommit, Point::AfterCommit, Point::Migrating];
/// Where it tells of what it took in.
const TELLING: [Point; 5] = [
    Point::RelaySent,
    Point::RelayAcknowledged,
    Point::BeforeAcknowledgement,
    Point::AfterAcknowledgement,
    Point::Draining,
];
/// What it comes to when it was away.
const RETURNING: [Point; 5] =
    [Point::RelayLeftOver, Point::HealerRead, Point::AuditRead, Point::AuditNoted, Point::Parked];
/// What only one of them does.
const OWN: [Point; 4] = [Point::GatewayQueued, Point::EffectLeased, Point::EffectPerformed, Point::TimerTaken];

/// Much of a story is waiting.
const SHOPS: usize = 3;

async fn dies_and_loses_nothing(role: Role, points: &[Point]) {
    let nats = NatsServer::start().await;
    let cases = Site::all().filter(|site| site.role == role && points.contains(&site.point));
    let deaths = cases.map(|site| {
        let (case, url) = (Case { site, nth: 1 }, nats.url());
        async move { (case, survive(&url, case, Keep::Nothing).await) }
    });
    let mut deaths = futures::stream::iter(deaths.collect::<Vec<_>>()).buffer_unordered(SHOPS);
    while let Some((case, outcome)) = deaths.next().await {
        assert_eq!(outcome, Ok(Verdict::Survived), "{case}; repeat it with: make kill-points ARGS=\"--only {case}\"");
    }
}

#[test]
fn no_point_is_left_out() {
    let all = [&TAKING[..], &TELLING, &RETURNING, &OWN].concat();
    let left_out: Vec<_> = Point::ALL.iter().filter(|point| !all.contains(point)).collect();
    assert!(left_out.is_empty(), "nobody dies at {left_out:?}");
}

#[tokio::test]
async fn registration_dies_as_it_takes_something_in_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Registration, &TAKING).await;
}

#[tokio::test]
async fn registration_dies_as_it_tells_others_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Registration, &TELLING).await;
}

#[tokio::test]
async fn registration_dies_on_its_return_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Registration, &RETURNING).await;
}

#[tokio::test]
async fn user_dies_as_it_takes_something_in_and_all_is_done_once() {
    dies_and_loses_nothing(Role::User, &TAKING).await;
}

#[tokio::test]
async fn user_dies_as_it_tells_others_and_all_is_done_once() {
    dies_and_loses_nothing(Role::User, &TELLING).await;
}

#[tokio::test]
async fn user_dies_on_its_return_and_all_is_done_once() {
    dies_and_loses_nothing(Role::User, &RETURNING).await;
}

#[tokio::test]
async fn order_dies_as_it_takes_something_in_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Order, &TAKING).await;
}

#[tokio::test]
async fn order_dies_as_it_tells_others_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Order, &TELLING).await;
}

#[tokio::test]
async fn order_dies_on_its_return_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Order, &RETURNING).await;
}

#[tokio::test]
async fn billing_dies_as_it_takes_something_in_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Billing, &TAKING).await;
}

#[tokio::test]
async fn billing_dies_as_it_tells_others_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Billing, &TELLING).await;
}

#[tokio::test]
async fn billing_dies_on_its_return_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Billing, &RETURNING).await;
}

#[tokio::test]
async fn the_gateway_dies_with_what_it_has_queued_and_as_it_stops_and_all_is_done_once() {
    dies_and_loses_nothing(Role::Gateway, &[Point::GatewayQueued, Point::Draining]).await;
}

#[tokio::test]
async fn billing_dies_around_a_charge_and_it_is_made_once() {
    dies_and_loses_nothing(Role::Billing, &OWN).await;
}

#[tokio::test]
async fn order_dies_as_a_deadline_passes_and_it_passes_once() {
    dies_and_loses_nothing(Role::Order, &OWN).await;
}
