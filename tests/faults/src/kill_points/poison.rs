use millrace::Role;
use millrace::operator::Selection;
use sea_orm::ConnectionTrait as _;
use testkit::within;

use super::shop::Shop;
use super::stories::{Done, PATIENCE};

/// The table in which a service keeps what it hears of people.
const fn table(role: Role) -> &'static str {
    match role {
        Role::Registration => "locale",
        Role::User => "profile",
        _ => "customer",
    }
}

/// From now on the service cannot take in what it hears of people.
pub(super) async fn hide(shop: &Shop, role: Role) {
    change(shop, role, &format!("alter table {} rename to hidden", table(role))).await;
}

async fn change(shop: &Shop, role: Role, statement: &str) {
    let database = shop.database(role).await;
    within(PATIENCE, statement, async || database.execute_unprepared(statement).await.is_ok()).await;
}

/// Waits until all three keys are parked, repairs what they failed at, and has them tried again; one of them is given up.
pub(super) async fn redrive(shop: &Shop, done: &mut Done) {
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
