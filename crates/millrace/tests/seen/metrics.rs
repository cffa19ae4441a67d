//! What Prometheus sees of a shop at work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::Write as _;
use std::iter::Sum;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use meter::{Kind, Metric};
use millrace::demo::{Customer, Person};
use proto::order::v1::OrderStatus;
use testkit::{eventually, eventually_some};
use tonic::Code;

use crate::up::Up;

const ADDRESS: &str = "metered@example.com";

/// The samples of a scrape, by their name with its labels as they stand there.
type Samples = BTreeMap<String, String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_at_work_shows_every_metric_of_the_table_and_nobody_s_name() {
    let up = Up::start("warn").await;
    let (customer, ids) = a_run(&up).await;
    eventually("everything is published and done", async || {
        let samples = read(&up.metrics().await);
        let rest = ["millrace_relay_pending", "millrace_effects_open", "millrace_relay_oldest_age_seconds"];
        rest.iter().all(|name| total::<f64>(&samples, name, &[]) == 0.0)
    })
    .await;
    let text = up.metrics().await;
    let (samples, types) = (read(&text), types(&text));
    for metric in meter::ALL {
        assert_eq!(types.get(metric.name).map(String::as_str), Some(type_of(metric)), "{}", metric.name);
        let help = format!("# HELP {} {}", metric.name, metric.help);
        assert_eq!(text.lines().filter(|line| *line == help).count(), 1, "{help}");
    }
    let names: BTreeSet<_> = meter::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(
        types.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        names,
        "what is not in the table is not shown"
    );
    has_the_labels_of_the_table(&samples);
    tells_what_happened(&samples);
    for name in ids.iter().map(String::as_str).chain([customer.user_id.as_str(), ADDRESS]) {
        assert!(!text.contains(name), "{name} is in the metrics");
    }
    is_good_for_promtool(&text);
}

/// Two orders, one of them while the broker is away, and a call of what does not exist. The ids of the orders.
async fn a_run(up: &Up) -> (Customer, Vec<String>) {
    let person = Person { address: ADDRESS, password: "a password of some length", name: "Metered", country: "DE" };
    let customer = Customer::enter(up.gateway(), &person).await.unwrap();
    let card = customer.add_card("tok_approved", "DE").await.unwrap();
    let mut ids = vec![order(&customer, "first", &card).await];
    up.nats.stop().await;
    ids.push(place(&customer, "second", &card).await);
    up.nats.restart().await;
    processed(&customer, &ids[1]).await;
    let mut grpc = tonic::client::Grpc::new(up.gateway());
    grpc.ready().await.unwrap();
    let path = "/millrace.order.v1.OrderService/NoSuchMethod".parse().unwrap();
    let answer: Result<tonic::Response<bytes::Bytes>, _> =
        grpc.unary(tonic::Request::new(bytes::Bytes::new()), path, serve::raw::Raw).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    (customer, ids)
}

async fn place(customer: &Customer, key: &str, card: &str) -> String {
    let placed = eventually_some("it is placed", async || customer.place(key, "teapot", 1, card).await.ok()).await;
    placed.0.receipt.unwrap().command.rsplit('/').next().unwrap().to_owned()
}

async fn order(customer: &Customer, key: &str, card: &str) -> String {
    let id = place(customer, key, card).await;
    processed(customer, &id).await;
    id
}

/// A slow machine answers ACCEPTED, and then there is no order to watch yet.
async fn processed(customer: &Customer, id: &str) {
    let watch = async || customer.watch(id, |order| order.status() == OrderStatus::Processed).await.ok();
    eventually_some("the order is processed", watch).await;
}

fn tells_what_happened(samples: &Samples) {
    let placed = ["method=\"millrace.order.v1.OrderService/PlaceOrder\"", "outcome=\"completed\"", "service=\"order\""];
    // A retry counts, too.
    let commands: u64 = total(samples, "millrace_commands_total", &placed);
    assert!(commands >= 2, "{commands}");
    assert_eq!(total::<u64>(samples, "millrace_command_duration_seconds_count", &placed[..1]), commands);
    let heard = ["subscription=\"orders\"", "outcome=\"applied\"", "service=\"billing\""];
    assert_eq!(total::<u64>(samples, "millrace_subscription_events_total", &heard), 2);
    assert_eq!(total::<u64>(samples, "millrace_subscription_lag_seconds_count", &[heard[0], heard[2]]), 2);
    assert!(total::<u64>(samples, "millrace_gateway_fallbacks_total", &[]) >= 1);
    assert!(total::<u64>(samples, "millrace_relay_published_total", &["service=\"order\""]) >= 4);
    let unknown = ["method=\"_OTHER\"", "code=\"UNIMPLEMENTED\""];
    assert_eq!(total::<u64>(samples, "millrace_gateway_calls_total", &unknown), 1);
    assert!(total::<f64>(samples, "process_resident_memory_bytes", &[]) > 1e6);
    let now = Duration::from_micros(ledger::process_now().0.unsigned_abs()).as_secs_f64();
    let age = now - total::<f64>(samples, "process_start_time_seconds", &[]);
    assert!((0.0..3600.0).contains(&age), "{age}");
}

/// Every sample has the labels of its metric, and the service's.
fn has_the_labels_of_the_table(samples: &Samples) {
    for sample in samples.keys() {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let family = |metric: &&Metric| {
            let suffixes: &[&str] = if metric.kind == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(metric.name))
        };
        let metric = meter::ALL.iter().find(family).unwrap_or_else(|| panic!("{name} is of no metric"));
        let found: BTreeSet<_> = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0)).collect();
        let service = metric.name.starts_with("millrace_").then_some("service");
        let bucket = name.ends_with("_bucket").then_some("le");
        assert_eq!(found, metric.labels.iter().copied().chain(service).chain(bucket).collect(), "{sample}");
    }
}

const fn type_of(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn types(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    lines.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

fn read(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sample = |line: &str| {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        (sample.to_owned(), value.to_owned())
    };
    lines.map(sample).collect()
}

/// The sum of the samples of a name that have these labels.
fn total<N: FromStr<Err: Debug> + Sum>(samples: &Samples, name: &str, labels: &[&str]) -> N {
    let is_meant =
        |sample: &str| sample.split('{').next() == Some(name) && labels.iter().all(|label| sample.contains(label));
    let meant: Vec<N> =
        samples.iter().filter(|(sample, _)| is_meant(sample)).map(|(_, value)| value.parse().unwrap()).collect();
    assert!(!meant.is_empty(), "there is no {name} with {labels:?}");
    meant.into_iter().sum()
}

/// Where Prometheus' own tool is installed, it is asked, too.
fn is_good_for_promtool(text: &str) {
    let check =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut check) = check else { return };
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
