use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use messaging::Broker;
use millrace::keys::Holder;
use millrace::limits::Limit;
use millrace::settings::{Keys, endpoint_variable, key_variable, pair_variable};
use millrace::{Role, Settings, broker, up};
use serve::transport::Tls;

use crate::maintain;
use crate::operate::{self, HELP, REACH};
use crate::staff;

/// An event-driven backend in one binary: identity, users, orders and payments behind one gRPC gateway, over NATS JetStream.
#[derive(Debug, Parser)]
#[command(version, after_help = TELEMETRY)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const TELEMETRY: &str = "\
Logs and traces, for every command:
  MILLRACE_LOG                 which log lines, by level and target [default: info]
  MILLRACE_LOG_FORMAT          text or json [default: text]
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces go, such as http://127.0.0.1:4317; also OTEL_EXPORTER_OTLP_CERTIFICATE,
                               OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_SDK_DISABLED and the other standard variables";

const RUN: &str = "\
Keys and addresses of others, by role (`millrace keys` prints the keys):
  MILLRACE_KEY_<SERVICE>             under which the service accepts calls
  MILLRACE_PAIR_KEY_<ROLE>_<SERVICE> with which the role calls the service
  MILLRACE_ENDPOINT_<SERVICE>        where the service is, such as http://order:7403
                                     [default: http://127.0.0.1:<its default port>]";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs everything in one process, on SQLite, with a broker of its own.
    Up(UpArguments),
    /// Runs some of the services, each a role of its own: what production does, with one role a process.
    #[command(after_help = RUN)]
    Run(RunArguments),
    /// Shows what Millrace does, as a client sees it, in a folder that is thrown away.
    Demo {
        /// A NATS server that runs already; otherwise one is started.
        #[arg(long, env = "MILLRACE_NATS_URL")]
        nats_url: Option<String>,
        /// The nats-server executable; otherwise the one on PATH, or the one that the project has fetched.
        #[arg(long, env = "MILLRACE_NATS_SERVER")]
        nats_server: Option<PathBuf>,
    },
    /// Prints the keys that roles need, as variables. Draws the master key if there is none.
    Keys {
        /// The folder with the master key.
        #[arg(long, env = "MILLRACE_DATA", default_value = "data")]
        data: PathBuf,
        /// The roles, or `operator` for the keys of `parked` and `commands`; all if none is named.
        holders: Vec<Holder>,
    },
    /// What failed for good and stops its key: lists it, shows it, has it tried again, or gives it up.
    #[command(after_help = HELP)]
    Parked {
        #[command(subcommand)]
        action: operate::Parked,
    },
    /// Commands that ended FAILED: lists them, shows them, has them carried out again, or gives them up.
    #[command(after_help = HELP)]
    Commands {
        #[command(subcommand)]
        action: operate::Commands,
    },
    /// Tells how services stand with their own logs and with those that they follow.
    #[command(after_help = REACH)]
    Status(maintain::Status),
    /// The generation of a service's log, after its database was restored.
    #[command(after_help = REACH)]
    Epoch {
        #[command(subcommand)]
        action: maintain::Epoch,
    },
    /// What services keep of others' data: compares it, or derives it anew.
    #[command(after_help = REACH)]
    Replica {
        #[command(subcommand)]
        action: maintain::Replica,
    },
    /// What queries read: writes it again, from the events.
    #[command(after_help = REACH)]
    Projection {
        #[command(subcommand)]
        action: maintain::Projection,
    },
    /// Which version of the code does a subscription's work.
    #[command(after_help = REACH)]
    Subscription {
        #[command(subcommand)]
        action: maintain::Subscriptions,
    },
    /// Who is staff.
    #[command(after_help = REACH)]
    User {
        #[command(subcommand)]
        action: staff::User,
    },
    /// Runs nothing but the broker, until Ctrl-C.
    #[command(hide = true)]
    Broker {
        /// The folder for its streams.
        #[arg(long)]
        store: PathBuf,
        /// Where it listens on 127.0.0.1; a free port if not given.
        #[arg(long)]
        port: Option<u16>,
        /// The nats-server executable.
        #[arg(long, env = "MILLRACE_NATS_SERVER")]
        nats_server: Option<PathBuf>,
    },
    /// Holds a nats-server for the process that started it.
    #[command(hide = true, name = broker::SUBCOMMAND)]
    SuperviseBroker {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct UpArguments {
    /// The folder for databases, streams and keys.
    #[arg(long, env = "MILLRACE_DATA", default_value = "data")]
    pub(crate) data: PathBuf,
    /// Where clients call: gRPC and gRPC-Web. Port 0 chooses a free one.
    #[arg(long, env = "MILLRACE_LISTEN", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    /// Where Prometheus scrapes: http://<address>/metrics. Port 0 chooses a free one.
    #[arg(long, env = "MILLRACE_METRICS_LISTEN", default_value = "127.0.0.1:7490")]
    pub(crate) metrics_listen: SocketAddr,
    /// A NATS server that runs already; otherwise one is started.
    #[arg(long, env = "MILLRACE_NATS_URL")]
    nats_url: Option<String>,
    /// The nats-server executable; otherwise the one on PATH, or the one that the project has fetched.
    #[arg(long, env = "MILLRACE_NATS_SERVER")]
    nats_server: Option<PathBuf>,
    /// How often the broker that is started forces what it has acknowledged to the disk: `always`, or such as 30s. Two minutes if not given:
    /// then a power failure loses what was acknowledged since, and what was only ACCEPTED with it.
    #[arg(long, env = "MILLRACE_BROKER_SYNC", value_parser = parse_sync)]
    broker_sync: Option<String>,
    /// What all subjects and streams begin with.
    #[arg(long, env = "MILLRACE_NAMESPACE", default_value = "millrace", value_parser = parse_namespace)]
    namespace: String,
    /// Where pages may call from over gRPC-Web, such as http://localhost:3000, separated by commas; * is anywhere. Nowhere if not given.
    #[arg(long, env = "MILLRACE_ALLOWED_ORIGINS", value_delimiter = ',')]
    allowed_origins: Vec<String>,
    /// Other limits than the usual ones, as <name>=<number>, separated by commas: calls-per-address, attempts-per-address and calls-per-user a
    /// second (0: any), connections, connections-per-address, bytes-per-address a second (0: any), open-calls, open-calls-per-address.
    #[arg(long, env = "MILLRACE_LIMITS", value_delimiter = ',')]
    limits: Vec<Limit>,
}

impl UpArguments {
    pub(crate) fn options(&self) -> up::Options {
        up::Options {
            data: self.data.clone(),
            nats_url: self.nats_url.clone().filter(|url| !url.is_empty()),
            nats_server: self.nats_server.clone(),
            broker_sync: self.broker_sync.clone(),
            namespace: self.namespace.clone(),
            listen: self.listen,
            allowed_origins: self.allowed_origins.clone(),
            limits: limits(&self.limits),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// What to run: registration, user, order, billing, gateway.
    #[arg(required = true)]
    pub(crate) roles: Vec<Role>,
    /// The database of each service, with {service} in the place of its name: sqlite://<path> or postgres://<user>@<host>/<database>.
    #[arg(long, env = "MILLRACE_DATABASE", default_value = "sqlite://data/{service}.db")]
    database: String,
    /// The NATS servers, separated by commas.
    #[arg(long, env = "MILLRACE_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats_url: String,
    /// How many nodes keep each stream.
    #[arg(long, env = "MILLRACE_NATS_REPLICAS", default_value_t = 1)]
    nats_replicas: usize,
    /// What all subjects and streams begin with.
    #[arg(long, env = "MILLRACE_NAMESPACE", default_value = "millrace", value_parser = parse_namespace)]
    namespace: String,
    /// Where roles listen, as <role>=<address>, separated by commas; the address alone is enough for a single role.
    #[arg(long, env = "MILLRACE_LISTEN", value_delimiter = ',')]
    listen: Vec<String>,
    /// Where Prometheus scrapes: http://<address>/metrics. Nothing is measured if not given.
    #[arg(long, env = "MILLRACE_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Where pages may call from over gRPC-Web, such as https://shop.example, separated by commas; * is anywhere. Nowhere if not given.
    #[arg(long, env = "MILLRACE_ALLOWED_ORIGINS", value_delimiter = ',')]
    allowed_origins: Vec<String>,
    /// Files with more descriptor sets (with their imports), for a gateway that is older than its services.
    #[arg(long, env = "MILLRACE_DESCRIPTORS", value_delimiter = ',')]
    descriptors: Vec<PathBuf>,
    /// How long an order waits for its payment before it is canceled, in hours.
    #[arg(long, env = "MILLRACE_ORDER_DEADLINE", value_name = "HOURS", default_value = "4", value_parser = parse_hours)]
    order_deadline: Duration,
    #[command(flatten)]
    tls: TlsArguments,
    /// How long the gateway waits for a command's outcome before it answers ACCEPTED, in milliseconds.
    #[arg(long, env = "MILLRACE_ANSWER_WAIT_MS", default_value_t = 2000)]
    answer_wait_ms: u64,
    /// Other limits than the usual ones, as <name>=<number>, separated by commas: calls-per-address, attempts-per-address and calls-per-user a
    /// second (0: any), connections, connections-per-address, bytes-per-address a second (0: any), open-calls, open-calls-per-address.
    #[arg(long, env = "MILLRACE_LIMITS", value_delimiter = ',')]
    limits: Vec<Limit>,
}

#[derive(Args, Debug)]
pub(crate) struct TlsArguments {
    /// The certificate (PEM, with its chain) that is shown to whoever calls, and to services that are called.
    #[arg(id = "tls_certificate", long = "tls-certificate", env = "MILLRACE_TLS_CERTIFICATE", requires = "tls_key")]
    certificate: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(id = "tls_key", long = "tls-key", env = "MILLRACE_TLS_KEY", requires = "tls_certificate")]
    key: Option<PathBuf>,
    /// The authority (PEM) that services' certificates are signed by. With it, services take only callers that show one.
    #[arg(id = "tls_authority", long = "tls-authority", env = "MILLRACE_TLS_AUTHORITY", requires = "tls_certificate")]
    authority: Option<PathBuf>,
}

impl TlsArguments {
    /// The gateway's own: clients have no certificates.
    fn edge(&self) -> anyhow::Result<Option<Tls>> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else { return Ok(None) };
        Ok(Some(Tls::default().read_identity(certificate, key)?))
    }

    /// For calls between services, and to them.
    pub(crate) fn onward(&self) -> anyhow::Result<Option<Tls>> {
        match (self.edge()?, &self.authority) {
            (Some(tls), Some(authority)) => Ok(Some(tls.read_authority(authority)?)),
            _ => Ok(None),
        }
    }
}

impl RunArguments {
    pub(crate) fn settings(&self, get: impl Fn(String) -> Option<String>) -> anyhow::Result<Settings> {
        let answer_wait = std::time::Duration::from_millis(self.answer_wait_ms);
        let limits = gateway::Limits { answer_wait, ..limits(&self.limits) };
        let endpoint = |role: Role| {
            let elsewhere = get(endpoint_variable(role.name()));
            let scheme = if self.tls.authority.is_some() { "https" } else { "http" };
            let address = elsewhere.unwrap_or_else(|| format!("{scheme}://127.0.0.1:{}", role.default_port()));
            (role.name().to_owned(), address)
        };
        let here = |role: &Role| self.roles.contains(role) && get(endpoint_variable(role.name())).is_none();
        Ok(Settings {
            database: self.database.clone(),
            broker: Broker {
                url: self.nats_url.clone(),
                namespace: self.namespace.clone(),
                replicas: self.nats_replicas,
            },
            keys: self.keys(&get)?,
            listen: self.listen.iter().map(|text| self.parse_listen(text)).collect::<anyhow::Result<_>>()?,
            // What runs here is where it listens.
            endpoints: Role::services().filter(|role| !here(role)).map(endpoint).collect(),
            limits,
            allowed_origins: self.allowed_origins.clone(),
            descriptors: self.descriptors.clone(),
            tls: self.tls.onward()?,
            edge_tls: self.tls.edge()?,
            retry: ledger::Retry::default(),
            order: order::Settings { answer_within: self.order_deadline },
        })
    }

    fn parse_listen(&self, text: &str) -> anyhow::Result<(Role, SocketAddr)> {
        let (role, address) = match (text.split_once('='), self.roles.as_slice()) {
            (Some((role, address)), _) => (role.parse().map_err(anyhow::Error::msg)?, address),
            (None, [role]) => (*role, text),
            (None, _) => anyhow::bail!("write <role>=<address>, such as gateway=0.0.0.0:7400, where several roles run"),
        };
        anyhow::ensure!(self.roles.contains(&role), "{role} is given an address to listen on, but is not run here");
        Ok((role, address.parse().with_context(|| format!("`{address}` is no address such as 0.0.0.0:7400"))?))
    }

    fn keys(&self, get: &impl Fn(String) -> Option<String>) -> anyhow::Result<Keys> {
        let (mut owners, mut pairs) = (BTreeMap::new(), BTreeMap::new());
        for role in &self.roles {
            let variable = key_variable(*role);
            if let Some(text) = get(variable.clone()) {
                owners.insert(*role, text.parse().with_context(|| format!("{variable} is no key"))?);
            }
            for owner in role.calls() {
                let variable = pair_variable(*role, *owner);
                if let Some(text) = get(variable.clone()) {
                    pairs.insert((*role, *owner), text.parse().with_context(|| format!("{variable} is no key"))?);
                }
            }
        }
        Ok(Keys::Given { owners, pairs })
    }
}

fn limits(changes: &[Limit]) -> gateway::Limits {
    let mut limits = gateway::Limits::default();
    for change in changes {
        change.apply(&mut limits);
    }
    limits
}

fn parse_hours(text: &str) -> Result<Duration, String> {
    let hours: f64 = text.parse().map_err(|_| "use a number of hours, such as 4 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(hours * 3600.0).map_err(|_| "use a number of hours above 0".to_owned())
}

/// It is a token of subjects, and a part of streams' names.
fn parse_sync(text: &str) -> Result<String, String> {
    let number = text.strip_suffix(['s', 'm', 'h']).unwrap_or_default();
    let is_time = number.parse::<u32>().is_ok_and(|number| number > 0);
    if text == "always" || is_time {
        Ok(text.to_owned())
    } else {
        Err("use `always`, or a time such as 30s".to_owned())
    }
}

fn parse_namespace(text: &str) -> Result<String, String> {
    let well_formed = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if well_formed { Ok(text.to_owned()) } else { Err("use letters, digits, hyphens and underscores".to_owned()) }
}
