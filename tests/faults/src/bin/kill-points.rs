//! Lets each role die at each point at which that could hurt, and checks everything. `--help` tells how.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use fault::Point;
use futures::StreamExt as _;
use millrace::Role;
use millrace_faults::kill_points::{Case, Keep, Site, Verdict, count, survive};
use testkit::NatsServer;
use tokio::signal::unix::{SignalKind, signal};

use clap::Parser;

/// Counts how often each role comes to each point at which a process can die, and then lets it die there: at each point, for the first
/// times that it comes there, once each. It is started again, everything is brought to its end, and all promises are checked. Real
/// processes on a real nats-server and SQLite; where somebody dies is counted, and never a matter of time.
#[derive(Debug, Parser)]
#[command(name = "kill-points")]
struct Arguments {
    /// Only what begins like this: order, order/before-commit or order/before-commit:2. May be given more than once.
    #[arg(long, value_name = "ROLE[/POINT[:TIME]]")]
    only: Vec<String>,
    /// At how many of the times that a role comes to a point it dies there.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    first: u32,
    /// Shops that are open at a time. Much of their time is waiting.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    shops: u8,
    /// Tells which points there are in which roles, and does nothing.
    #[arg(long)]
    list: bool,
}

/// How often a role comes to each of its points.
type Hits = BTreeMap<Site, u32>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What was started is stopped with the run, however that ends.
    let outcome = tokio::select! { biased;
        () = told_to_stop() => Err("stopped before its end".to_owned()),
        outcome = run(&arguments) => outcome,
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "kill-points: {error}");
    ExitCode::FAILURE
}

async fn told_to_stop() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! { biased;
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

async fn run(arguments: &Arguments) -> Result<(), String> {
    if !cfg!(debug_assertions) {
        return Err("a release has no points to die at; run it by `make kill-points`".to_owned());
    }
    let sites: Vec<_> = Site::all().filter(|site| arguments.means(&site.to_string())).collect();
    if sites.is_empty() {
        return Err("--only names no point of any role; --list tells them all".to_owned());
    }
    if arguments.list {
        for site in &sites {
            tell(&site.to_string());
        }
        return Ok(());
    }
    let (began, nats) = (Instant::now(), NatsServer::start().await);
    let hits = count_all(&nats.url(), &sites, arguments.shops).await?;
    let cases: Vec<_> = hits
        .iter()
        .flat_map(|(site, hits)| (1..=arguments.first.min(*hits)).map(|nth| Case { site: *site, nth }))
        .filter(|case| arguments.means(&case.to_string()))
        .collect();
    if cases.is_empty() {
        return Err("--only names a time that nobody comes to, or that --first leaves out".to_owned());
    }
    tell(&format!("{} deaths, counted in {:.0} s", cases.len(), began.elapsed().as_secs_f64()));
    let verdicts = die_all(&nats.url(), &cases, arguments.shops).await?;
    tell(&table(&hits, &verdicts));
    let died = verdicts.values().filter(|verdict| **verdict == Verdict::Survived).count();
    let (all, seconds) = (verdicts.len(), began.elapsed().as_secs());
    tell(&format!("{died} processes died at their points, and nothing was lost or done twice; {seconds} s"));
    if died < all {
        tell(&format!("{} stories ended before: what is done in batches comes in fewer at times", all - died));
    }
    let unmet = verdicts.iter().find(|(case, verdict)| case.nth == 1 && **verdict == Verdict::NotReached);
    unmet.map_or(Ok(()), |(case, _)| Err(format!("the story never comes to {case}; {}", again(*case))))
}

impl Arguments {
    /// Whether a site or a case is among those that are meant, or has some that are.
    fn means(&self, name: &str) -> bool {
        let begins = |whole: &str, part: &str| {
            whole.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
        };
        self.only.is_empty() || self.only.iter().any(|only| begins(name, only) || begins(only, name))
    }
}

/// One story tells of all of a role's points that are in it.
async fn count_all(nats_url: &str, sites: &[Site], shops: u8) -> Result<Hits, String> {
    let mut stories: BTreeMap<_, Vec<Site>> = BTreeMap::new();
    for site in sites {
        stories.entry(site.story_name()).or_default().push(*site);
    }
    tell(&format!("counting, in {} stories in which nobody dies", stories.len()));
    let counting = stories.values().map(|sites| async move { (sites, count(nats_url, sites[0]).await) });
    let mut counting = futures::stream::iter(counting).buffer_unordered(shops.into());
    let mut hits = Hits::new();
    while let Some((sites, counted)) = counting.next().await {
        let counted = counted.map_err(|error| format!("nobody died, and yet: {error}"))?;
        let role = sites[0].role;
        if let Some(site) = counted.keys().map(|point| Site { role, point: *point }).find(|site| !site.is_reached()) {
            return Err(format!("{site} is reached, and nobody dies there: its plan says otherwise"));
        }
        for site in sites {
            let times = counted.get(&site.point).copied().unwrap_or_default();
            if times == 0 {
                return Err(format!("the story never comes to {site}"));
            }
            hits.insert(*site, times);
        }
    }
    Ok(hits)
}

async fn die_all(nats_url: &str, cases: &[Case], shops: u8) -> Result<BTreeMap<Case, Verdict>, String> {
    let dying = cases.iter().map(|case| async move {
        let began = Instant::now();
        (*case, survive(nats_url, *case, Keep::Folder).await, began.elapsed().as_secs_f64())
    });
    let mut dying = futures::stream::iter(dying).buffer_unordered(shops.into());
    let mut verdicts = BTreeMap::new();
    while let Some((case, outcome, seconds)) = dying.next().await {
        let verdict = outcome.map_err(|error| format!("{case}: {error}\n{}", again(case)))?;
        let told = if verdict == Verdict::Survived { "died, and all is well" } else { "was not reached" };
        verdicts.insert(case, verdict);
        tell(&format!("{:>4}/{}  {:<36} {told}  {seconds:.1} s", verdicts.len(), cases.len(), case.to_string()));
    }
    Ok(verdicts)
}

fn again(case: Case) -> String {
    format!("repeat it with: make kill-points ARGS=\"--only {case}\"")
}

/// Points and roles: how often a role comes to a point, and how many deaths there it survived.
fn table(hits: &Hits, verdicts: &BTreeMap<Case, Verdict>) -> String {
    let mut table = format!("\n{:<24}", "hits/deaths");
    for role in Role::ALL {
        let _ = write!(table, "{:>14}", role.name());
    }
    for point in Point::ALL {
        let _ = write!(table, "\n{:<24}", point.name());
        for role in Role::ALL {
            let site = Site { role, point: *point };
            let survived = |(case, verdict): &(&Case, &Verdict)| case.site == site && **verdict == Verdict::Survived;
            let deaths = verdicts.iter().filter(survived).count();
            let cell = hits.get(&site).map(|hits| format!("{hits}/{deaths}")).unwrap_or_default();
            let _ = write!(table, "{cell:>14}");
        }
    }
    table.push('\n');
    table
}

fn tell(line: &str) {
    // Whoever reads may have read enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}
