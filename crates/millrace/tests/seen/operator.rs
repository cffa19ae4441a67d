//! `millrace parked` and `millrace commands`, as an operator types them beside a running `up`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use millrace::demo::{Customer, Person};
use proto::order::v1::OrderStatus;
use sea_orm::ConnectionTrait as _;
use serde_json::Value;
use testkit::eventually_some;

use crate::up::Up;

/// What the operator types, with the folder of `up`.
fn typed(data: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(line.split_whitespace()).arg("--data").arg(data).env_clear();
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The attempts that failed, and the one that an operator had made, are spans of one trace.
fn the_trace_tells_of_all_attempts(up: &Up, order: &str) {
    let attempts = up.traces.named("process millrace.cmd.order.place-order");
    let attempts = attempts.iter().filter(|span| span.attributes["millrace.command_id"] == order);
    let numbers: BTreeSet<_> = attempts.clone().filter_map(|span| span.attributes.get("millrace.attempt")).collect();
    assert_eq!(numbers, ["2", "3", "4", "5"].map(str::to_owned).iter().collect(), "the first needs no number");
    let redriven = up.traces.named("redrive millrace.order.v1.OrderService/PlaceOrder");
    let traces: BTreeSet<_> = attempts.chain(&redriven).map(|span| &span.trace_id).collect();
    assert_eq!((redriven.len(), traces.len()), (1, 1), "{redriven:?}");
    assert_eq!(redriven[0].attributes["millrace.outcome"], "completed");
}

#[tokio::test]
async fn an_operator_finds_a_failed_command_and_has_it_carried_out_again() {
    let mut up = Up::start("error").await;
    let data = up.folder.path().join("data");
    assert_eq!(said(&typed(&data, "parked list")), "nothing is parked\n");
    assert_eq!(said(&typed(&data, "commands failed --service order,billing")), "no command has failed\n");
    let person = Person { address: "ada@example.com", password: "correct horse battery", name: "Ada", country: "DE" };
    let customer = Customer::enter(up.gateway(), &person).await.unwrap();
    let card = customer.add_card("tok_approved", "DE").await.unwrap();
    let database = ledger::connect(&format!("sqlite://{}/order.db", data.display())).await.unwrap();
    database.execute_unprepared("alter table order_view rename to hidden").await.unwrap();
    let (placed, _) = customer.place_surely("key", "teapot", 1, &card).await.unwrap_or_default();
    assert!(placed.order.is_none());
    let listed = eventually_some("the command fails", async || {
        Some(said(&typed(&data, "commands failed --json"))).filter(|listed| !listed.is_empty())
    })
    .await;
    let failed: Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!((&failed["service"], &failed["kind"]), (&"order".into(), &"PARKED_KIND_COMMAND".into()), "{failed}");

    let table = said(&typed(&data, "commands failed --error ORDER_VIEW"));
    assert!(table.starts_with("STATE") && table.lines().count() == 2 && table.contains("no such table"), "{table}");
    let id = failed["id"].as_str().unwrap();
    let shown = said(&typed(&data, &format!("commands show {id}")));
    assert!(shown.contains("\"sku\": \"teapot\"") && shown.contains("PlaceOrderRequest"), "{shown}");

    database.execute_unprepared("alter table hidden rename to order_view").await.unwrap();
    assert!(refused(&typed(&data, "commands redrive --as ana")).contains("say what is meant"));
    assert!(refused(&typed(&data, "commands redrive --all")).contains("say so with --as"));
    assert!(refused(&typed(&data, "parked drop --all --as ana")).contains("nothing that is parked is meant"));
    let done = said(&typed(&data, &format!("commands redrive {id} --as ana")));
    assert!(done.starts_with("driven again: order millrace.order.v1.OrderService/PlaceOrder"), "{done}");
    let order = failed["key"].as_str().unwrap();
    let order = eventually_some("the order is placed", async || {
        customer.watch(order, |order| order.status() != OrderStatus::Pending).await.ok()
    })
    .await;
    assert_eq!(order.status(), OrderStatus::Processed);
    assert_eq!(said(&typed(&data, "commands failed")), "no command has failed\n");

    let user = "A".repeat(22);
    assert!(refused(&typed(&data, &format!("user grant-staff {user}"))).contains("say so with --as"));
    let unknown = refused(&typed(&data, &format!("user grant-staff {user} --as ana")));
    assert_eq!(unknown, "millrace: registration: there is no such user\n");
    for (action, answer) in [("grant-staff", "is staff from"), ("revoke-staff", "is no staff any more")] {
        let done = said(&typed(&data, &format!("user {action} {} --as ana", customer.user_id)));
        assert!(done.contains(answer), "{done}");
    }

    up.stop().await;
    the_trace_tells_of_all_attempts(&up, order.order_id.as_str());
    let away = refused(&typed(&data, "parked list --service order"));
    assert!(
        away.contains("order does not answer at http://127.0.0.1:7403") && away.contains("MILLRACE_ENDPOINT_ORDER"),
        "{away}"
    );
    let no_key = refused(&typed(up.folder.path(), "parked list"));
    assert!(no_key.contains("MILLRACE_PAIR_KEY_OPERATOR_") && no_key.contains("keys operator"), "{no_key}");
}
