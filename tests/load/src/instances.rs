//! Whether two instances do more than one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::{Connection as _, PgConnection};

use crate::customers::{self, Customer};
use crate::drive::{Bound, Processed, Until, closed};
use crate::plan::{CALLERS, ROUNDS, Sum, described, measured, per_order};
use crate::report::say;
use crate::shop::Shop;

/// Orders that a shop takes before it is measured.
const WARM: usize = 500;

/// A shop, its customers, and when their orders are done.
struct Side {
    instances: usize,
    shop: Shop,
    customers: Vec<Customer>,
    until: Until,
}

/// Measures a shop with one instance of order and billing and one with two, by turns, so that what else the machine does meets both.
pub(crate) async fn compare(time: Duration) -> Result<()> {
    let server = std::env::var("MILLRACE_TEST_POSTGRES_URL").context("no Postgres: begin with scripts/postgres")?;
    let sides = [Side::open(&server, 1).await?, Side::open(&server, 2).await?];
    let mut sums = [Sum::default(), Sum::default()];
    for _ in 0..ROUNDS {
        for (side, sum) in sides.iter().zip(&mut sums) {
            let bound = Bound::Time(time / ROUNDS);
            sum.add(measured(&side.shop, closed(&side.customers, CALLERS, &side.until, bound)).await?);
        }
    }
    for (side, sum) in sides.iter().zip(sums) {
        let (run, cpu) = sum.all()?;
        let instances = side.instances;
        say(&format!(
            "on Postgres, instances of order and billing: {instances}: {}; {}",
            described(&run),
            per_order(cpu)
        ));
    }
    Ok(())
}

impl Side {
    async fn open(server: &str, instances: usize) -> Result<Self> {
        let database = fresh(server, &format!("millrace_load_{}_{instances}", std::process::id())).await?;
        let shop = Shop::on_postgres(&database, instances).await.context("millrace run")?;
        let customers = customers::enter(shop.port, CALLERS, true).await?;
        let until = Until::Processed(Processed::listen(&shop.nats_url).await?);
        closed(&customers, CALLERS, &until, Bound::Orders(WARM)).await?;
        Ok(Self { instances, shop, customers, until })
    }
}

/// The address of a new database with a schema for each service.
async fn fresh(server: &str, name: &str) -> Result<String> {
    let (base, _) = server.rsplit_once('/').context("the server's address names no database")?;
    let mut connection = PgConnection::connect(server).await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await?;
    let mut connection = PgConnection::connect(&format!("{base}/{name}")).await?;
    for service in ["registration", "user", "order", "billing"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("create schema \"{service}\""))).execute(&mut connection).await?;
    }
    Ok(format!("{base}/{name}?options[search_path]={{service}}"))
}
