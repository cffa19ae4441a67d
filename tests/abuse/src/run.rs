//! One attack after the other, each between a peace and an end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use abuse::attack::{Account, Attack, Attacker, Tally};
use anyhow::{Context as _, Result, bail};
use millrace_abuse as abuse;
use tokio::task::JoinSet;

use crate::honest::{Customer, Seen};
use crate::process::{self, Held};
use crate::report::{self, Figures};
use crate::shop::Shop;

/// What the customer sees when nobody attacks is measured for so long.
const PEACE: Duration = Duration::from_secs(5);
/// Between two looks at the gateway's process.
const LOOK: Duration = Duration::from_millis(50);
/// For the gateway to notice that an attack is over.
const TO_CALM_DOWN: Duration = Duration::from_secs(15);
/// Files that come and go without an attack: connections to the services and the broker.
const FILES_SPARE: usize = 16;

/// What is to be done.
pub(crate) struct Plan {
    pub(crate) seconds: Duration,
    pub(crate) attacks: Vec<Attack>,
    pub(crate) target: Option<(SocketAddr, Option<u32>)>,
}

/// Who and what is there.
struct Ground {
    gateway: SocketAddr,
    pid: Option<u32>,
    attacker: Customer,
    seen: Arc<Mutex<Seen>>,
}

/// Fails if anything did not hold that must.
pub(crate) async fn run(plan: Plan) -> Result<()> {
    let shop = if plan.target.is_none() { Some(Shop::start()?) } else { None };
    let (gateway, pid) = match (&shop, plan.target) {
        (Some(shop), _) => (shop.gateway, Some(shop.pid)),
        (None, target) => target.context("there is nothing to attack")?,
    };
    report::say(&format!(
        "attacking {gateway}, {} s for each of {} attacks",
        plan.seconds.as_secs(),
        plan.attacks.len()
    ));
    let customer = Customer::enter(gateway).await?;
    let mut ground = Ground { gateway, pid, attacker: Customer::enter(gateway).await?, seen: Arc::default() };
    let mut honest = JoinSet::new();
    honest.spawn(customer.clone().buy(Arc::clone(&ground.seen)));
    tokio::time::sleep(PEACE).await;
    report::head(&ground.take());
    let mut failed = Vec::new();
    for attack in &plan.attacks {
        let figures = ground.suffer(attack, plan.seconds).await?;
        failed.extend(report::row(attack, &figures).then_some(attack.name));
        // Access tokens live ten minutes.
        let mut again = customer.clone();
        again.renew().await?;
        honest.shutdown().await;
        honest.spawn(again.buy(Arc::clone(&ground.seen)));
    }
    if !failed.is_empty() {
        let names = failed.join(", ");
        bail!("{} of {} attacks had an effect: {names}{}", failed.len(), plan.attacks.len(), process::other_work());
    }
    Ok(())
}

impl Ground {
    fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn held(&self) -> Result<Held> {
        self.pid.map(Held::by).transpose().map(Option::unwrap_or_default)
    }

    async fn suffer(&mut self, attack: &Attack, seconds: Duration) -> Result<Figures> {
        self.attacker.renew().await?;
        let account = self.attacker.account().await?;
        let (before, tally) = (self.held()?, Arc::<Tally>::default());
        self.take();
        let mut attackers = self.attackers(attack, &account, &tally, seconds);
        let (began, mut peak, mut broken) = (Instant::now(), 0, None);
        while let Some(joined) = self.look(&mut attackers, &mut peak).await? {
            broken = broken.or_else(|| joined.err().map(|error| format!("{error:#}")));
        }
        let (took, after) = (began.elapsed(), self.held()?);
        let seen = self.take();
        let files_after = self.calm_down(before.files).await?;
        Ok(Figures {
            connections: tally.connections.load(Ordering::Relaxed),
            requests: tally.requests.load(Ordering::Relaxed),
            growth_mib: peak.saturating_sub(before.memory_kib) / 1024,
            cpu_share: after.cpu.saturating_sub(before.cpu).as_secs_f64() / took.as_secs_f64(),
            files: (before.files, files_after),
            files_left: self.pid.is_some() && files_after > before.files + FILES_SPARE,
            is_measured: self.pid.is_some(),
            seen,
            broken,
        })
    }

    /// From 127.0.1.1 on; honest calls come from 127.0.0.1.
    fn attackers(
        &self,
        attack: &Attack,
        account: &Account,
        tally: &Arc<Tally>,
        seconds: Duration,
    ) -> JoinSet<Result<()>> {
        let mut attackers = JoinSet::new();
        for number in 1..=attack.attackers {
            let from = Ipv4Addr::new(127, 0, 1, number);
            let attacker = Attacker { gateway: self.gateway, from, account: account.clone(), tally: Arc::clone(tally) };
            let round = attack.round;
            attackers.spawn(async move {
                let rounds = async {
                    loop {
                        round(&attacker).await?;
                    }
                };
                tokio::time::timeout(seconds, rounds).await.unwrap_or(Ok(()))
            });
        }
        attackers
    }

    /// Watches the gateway until the next attacker has ended; None once all have.
    async fn look(&self, attackers: &mut JoinSet<Result<()>>, peak: &mut u64) -> Result<Option<Result<()>>> {
        loop {
            *peak = (*peak).max(self.held()?.memory_kib);
            if let Ok(joined) = tokio::time::timeout(LOOK, attackers.join_next()).await {
                return Ok(joined.map(|joined| joined.context("the gateway neither reads nor closes")?));
            }
        }
    }

    /// The files that are open once the gateway has noticed that everybody has left.
    async fn calm_down(&self, before: usize) -> Result<usize> {
        let began = Instant::now();
        loop {
            let files = self.held()?.files;
            if files <= before + FILES_SPARE || began.elapsed() > TO_CALM_DOWN {
                return Ok(files);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
