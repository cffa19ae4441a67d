//! The first death at each point of each role; `make kill-points` has the others.
#![cfg(test)]

use fault::Point;
use futures::StreamExt as _;
use millrace::Role;
use millrace_faults::kill_points::{Case, Keep, Site, Verdict, survive};
use testkit::NatsServer;

/// What a role comes to as long as it does its work.
const WORK: [Point; 9] = [
    Point::LaneReceived,
    Point::BeforeCommit,
    Point::AfterCommit,
    Point::RelaySent,
    Point::RelayAcknowledged,
    Point::BeforeAcknowledgement,
    Point::AfterAcknowledgement,
    Point::Migrating,
    Point::Draining,
];
/// What it comes to when it was away, or cannot do it.
const RETURN: [Point; 5] =
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

macro_rules! deaths {
    ($($name:ident: $role:ident, $points:ident;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                dies_and_loses_nothing(Role::$role, &$points).await;
            }
        )+
    };
}

deaths! {
    registration_dies_at_each_point_of_its_work_and_nothing_is_lost: Registration, WORK;
    user_dies_at_each_point_of_its_work_and_nothing_is_lost: User, WORK;
    order_dies_at_each_point_of_its_work_and_nothing_is_lost: Order, WORK;
    billing_dies_at_each_point_of_its_work_and_nothing_is_lost: Billing, WORK;
    registration_dies_at_each_point_of_its_return_and_nothing_is_lost: Registration, RETURN;
    user_dies_at_each_point_of_its_return_and_nothing_is_lost: User, RETURN;
    order_dies_at_each_point_of_its_return_and_nothing_is_lost: Order, RETURN;
    billing_dies_at_each_point_of_its_return_and_nothing_is_lost: Billing, RETURN;
    the_gateway_dies_with_what_it_has_queued_or_drains_and_nothing_is_lost: Gateway, GATEWAY;
    billing_dies_around_a_charge_and_it_is_made_once: Billing, OWN;
    order_dies_as_a_deadline_passes_and_it_passes_once: Order, OWN;
}

const GATEWAY: [Point; 2] = [Point::GatewayQueued, Point::Draining];

#[test]
fn no_point_is_left_out() {
    let left_out: Vec<_> =
        Point::ALL.iter().filter(|point| ![&WORK[..], &RETURN, &OWN].concat().contains(point)).collect();
    assert!(left_out.is_empty(), "nobody dies at {left_out:?}");
}
