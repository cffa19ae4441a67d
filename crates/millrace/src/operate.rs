//! `millrace parked` and `millrace commands`, as they are typed and answered.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use event::Schema;
use millrace::Role;
use millrace::operator::{self, Found, Operator, Selection};
use serve::transport::Tls;

use crate::arguments::TlsArguments;

/// What `--help` says below the options of an operator's commands.
macro_rules! reach {
    () => {
        "\
Services are called directly. Where they are, and the keys to call them with:
  MILLRACE_ENDPOINT_<SERVICE>           where the service is, such as http://order:7403
                                        [default: what `up` has left in the data folder, or http://127.0.0.1:<its default port>]
  MILLRACE_PAIR_KEY_OPERATOR_<SERVICE>  the operator's key, as `millrace keys operator` prints it
                                        [default: derived from the master key in the data folder]"
    };
}
pub(crate) const REACH: &str = reach!();

/// The same, for `parked` and `commands`.
pub(crate) const HELP: &str = concat!(
    reach!(),
    "

What is dropped is gone for good: nothing that should have followed from it happens. That is written down with your name, and shown as
`diverged` for ever."
);

#[derive(Debug, Subcommand)]
pub(crate) enum Parked {
    /// Lists what failed for good, and what was dropped.
    List(Which),
    /// Shows it in full, with the message that it fails at and its trace.
    Show(Which),
    /// Has it tried again, with all its attempts; a key goes on in order.
    Redrive(Decided),
    /// Gives it up; a key goes on from the next revision.
    Drop(Dropped),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Commands {
    /// Lists the commands that ended FAILED.
    Failed(Which),
    /// Shows them in full, with their requests and traces.
    Show(Which),
    /// Has them carried out again, from the requests that were kept. Their outcomes may change.
    Redrive(Decided),
    /// Gives them up: their requests are forgotten.
    Drop(Dropped),
}

#[derive(Args, Debug)]
pub(crate) struct Which {
    /// As listed with --json, or shown; all that the options select if none is named.
    ids: Vec<String>,
    /// Only of these services, separated by commas.
    #[arg(long, value_delimiter = ',')]
    service: Vec<Role>,
    /// Only of this key, such as order/AZq…; of a command its id.
    #[arg(long)]
    key: Option<String>,
    /// Only of this subscription, kind of effect, timer or method.
    #[arg(long, visible_alias = "name")]
    subscription: Option<String>,
    /// Only what failed with this in its reason.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Answers one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// How services are reached.
#[derive(Args, Debug)]
pub(crate) struct Reach {
    /// The folder of `up`, or that with the master key.
    #[arg(long, env = "MILLRACE_DATA", default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    tls: TlsArguments,
}

impl Reach {
    /// `author` is who will be written down as having decided.
    pub(crate) fn operator(&self, roles: &[Role], author: &str) -> anyhow::Result<Operator> {
        let tls: Option<Tls> = self.tls.onward()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let services = operator::services(roles, &self.data, scheme, |name| std::env::var(name).ok())?;
        Ok(Operator::new(Arc::new(Schema::embedded()?), services, tls.as_ref(), author.to_owned())?)
    }
}

#[derive(Args, Debug)]
pub(crate) struct Decided {
    #[command(flatten)]
    which: Which,
    /// Decides about everything that is listed.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    author: Author,
}

/// Who is written down as having decided.
#[derive(Args, Debug)]
pub(crate) struct Author {
    /// Who decides.
    #[arg(long = "as", env = "USER", value_name = "NAME")]
    author: Option<String>,
}

impl Author {
    pub(crate) fn name(&self) -> anyhow::Result<&str> {
        let author = self.author.as_deref().filter(|author| !author.is_empty());
        author.context("who decides is written down: say so with --as")
    }
}

#[derive(Args, Debug)]
pub(crate) struct Dropped {
    #[command(flatten)]
    decided: Decided,
    /// Why, for whoever finds the divergence later.
    #[arg(long, default_value = "")]
    note: String,
}

pub(crate) async fn parked(action: &Parked) -> anyhow::Result<()> {
    match action {
        Parked::List(which) => list(which, false).await,
        Parked::Show(which) => show(which, false).await,
        Parked::Redrive(decided) => redrive(decided, false).await,
        Parked::Drop(dropped) => drop_it(dropped, false).await,
    }
}

pub(crate) async fn commands(action: &Commands) -> anyhow::Result<()> {
    match action {
        Commands::Failed(which) => list(which, true).await,
        Commands::Show(which) => show(which, true).await,
        Commands::Redrive(decided) => redrive(decided, true).await,
        Commands::Drop(dropped) => drop_it(dropped, true).await,
    }
}

/// An operator at work: what was found, and what went wrong on the way. What one service cannot be asked, others can.
struct Work {
    operator: Operator,
    schema: Arc<Schema>,
    json: bool,
    found: Vec<Found>,
    problems: Vec<String>,
}

impl Work {
    async fn begin(which: &Which, commands: bool, author: &str) -> anyhow::Result<Self> {
        let schema = Arc::new(Schema::embedded()?);
        let roles = if which.service.is_empty() { Role::services().collect() } else { which.service.clone() };
        let roles: Vec<_> = roles.into_iter().filter(|role| *role != Role::Gateway).collect();
        let operator = which.reach.operator(&roles, author)?;
        let mut work = Self { operator, schema, json: which.json, found: Vec::new(), problems: Vec::new() };
        let selection = which.selection(commands);
        for role in roles {
            match work.operator.list(role, &selection).await {
                Ok(mut found) => work.found.append(&mut found),
                Err(error) => work.problems.push(error.to_string()),
            }
        }
        Ok(work)
    }

    fn say_done(&self, found: &Found, done: &str) -> anyhow::Result<()> {
        if self.json {
            return say(&operator::as_json(&self.schema, found, None));
        }
        let Found { service, parked } = found;
        say(&format!("{done}: {service} {} {} at revision {}", parked.name, parked.key, parked.revision))
    }

    /// It is a problem if nothing of the kind was found, and everybody could be asked.
    fn expect(&mut self, meant: impl Fn(&Found) -> bool) {
        if self.problems.is_empty() && !self.found.iter().any(meant) {
            self.problems.push("nothing that is parked is meant by this".to_owned());
        }
    }

    fn end(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.problems.is_empty(), "{}", self.problems.join("\nmillrace: "));
        Ok(())
    }
}

impl Which {
    fn selection(&self, commands: bool) -> Selection {
        let Self { ids, key, subscription, error, .. } = self;
        Selection { commands, ids: ids.clone(), key: key.clone(), name: subscription.clone(), error: error.clone() }
    }
}

async fn list(which: &Which, commands: bool) -> anyhow::Result<()> {
    let work = Work::begin(which, commands, "").await?;
    if work.json {
        for found in &work.found {
            say(&operator::as_json(&work.schema, found, None))?;
        }
    } else if !work.found.is_empty() {
        write!(io::stdout(), "{}", operator::as_table(&work.found))?;
    } else if work.problems.is_empty() {
        say(if commands { "no command has failed" } else { "nothing is parked" })?;
    }
    work.end()
}

async fn show(which: &Which, commands: bool) -> anyhow::Result<()> {
    let mut work = Work::begin(which, commands, "").await?;
    work.expect(|_| true);
    let mut texts = Vec::new();
    for found in &work.found {
        match work.operator.show(found).await {
            Ok(shown) if work.json => say(&operator::as_json(&work.schema, found, Some(&shown)))?,
            Ok(shown) => texts.push(operator::as_text(found, &shown)),
            Err(error) => work.problems.push(error.to_string()),
        }
    }
    write!(io::stdout(), "{}", texts.join("\n"))?;
    work.end()
}

async fn redrive(decided: &Decided, commands: bool) -> anyhow::Result<()> {
    let mut work = decided.begin(commands).await?;
    for found in work.found.iter().filter(|found| found.is_open()) {
        match work.operator.redrive(found).await {
            Ok(()) => work.say_done(found, "driven again")?,
            Err(error) => work.problems.push(error.to_string()),
        }
    }
    work.end()
}

async fn drop_it(dropped: &Dropped, commands: bool) -> anyhow::Result<()> {
    let mut work = dropped.decided.begin(commands).await?;
    for found in work.found.iter().filter(|found| found.is_open()) {
        match work.operator.drop(found, &dropped.note).await {
            Ok(()) => work.say_done(found, "dropped")?,
            Err(error) => work.problems.push(error.to_string()),
        }
    }
    work.end()
}

impl Decided {
    async fn begin(&self, commands: bool) -> anyhow::Result<Work> {
        let narrow = self.all || !self.which.selection(commands).is_everything();
        anyhow::ensure!(narrow, "say what is meant: an id, --key, --subscription or --error; or --all");
        let mut work = Work::begin(&self.which, commands, self.author.name()?).await?;
        work.expect(Found::is_open);
        Ok(work)
    }
}

pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
