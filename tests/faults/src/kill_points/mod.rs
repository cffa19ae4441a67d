//! A process dies at each point at which that could hurt, is started again, and everything must come out as if it had not died.
//!
//! - `plan`: which role comes to which point, and in which story.
//! - `stories`, `people`, `poison`: what happens meanwhile. The same each time, so that counting once tells where there is to die.
//! - `shop`: real processes, one of which has been told where to die; `broker`: their streams on a real one.
//! - `checks`: what must hold in the end.

mod broker;
mod checks;
mod people;
mod plan;
mod poison;
mod shop;
mod stories;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use fault::Point;
use futures::FutureExt as _;

pub use plan::{Case, Site};
use shop::Shop;

/// What is kept of a case in which a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Its logs and databases.
    Folder,
    Nothing,
}

/// What came of a case in which no promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The process died there, and everything came out as if it had not.
    Survived,
    /// The story ended before.
    NotReached,
}

/// A story that takes longer hangs. Longest is what waits for the lease of the dead to run out, on a slow machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Lets a process die, and checks everything. Fails with the promise that was broken.
pub async fn survive(nats_url: &str, case: Case, keep: Keep) -> Result<Verdict, String> {
    alone(async {
        let shop = Shop::open(nats_url, case.site, Some(case.nth), keep).await;
        tell(&shop).await;
        let died = shop.died();
        shop.close().await;
        if died { Verdict::Survived } else { Verdict::NotReached }
    })
    .await
}

/// How often the role comes to which points in the story of this one, when nobody dies.
pub async fn count(nats_url: &str, site: Site) -> Result<BTreeMap<Point, u32>, String> {
    alone(async {
        let shop = Shop::open(nats_url, site, None, Keep::Nothing).await;
        tell(&shop).await;
        let hits = shop.hits();
        shop.close().await;
        hits
    })
    .await
}

/// Tells the story of this shop to its end, and checks what has come of it.
async fn tell(shop: &Shop) {
    let story = async {
        let done = stories::tell(shop).await;
        checks::everything_adds_up(shop, &done).await;
    };
    tokio::select! { biased;
        ended = shop.watch() => panic!("{ended}"),
        told = tokio::time::timeout(LIMIT, story) => told.expect("the story comes to its end"),
    }
}

/// What panics in one story does not end the others.
async fn alone<T>(told: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(told).catch_unwind().await.map_err(|panic| said(&*panic))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
