//! What is parked, in the hands of those who may decide about it, and of nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{Id, Schema};
use identity::{Principal, seal};
use ledger::operator::OPERATOR;
use millrace::Role;
use millrace::operator::{Found, Operator, Selection, Service};
use prost::Message as _;
use proto::command::v1::deliver_response::Outcome;
use proto::command::v1::{
    GetCommandRequest, GetCommandResponse, Receipt, State, WaitCommandRequest, WaitCommandResponse,
};
use proto::eventlog::v1::ReadRequest;
use proto::operator::v1::{
    DropRequest, DropResponse, ListParkedRequest, ListParkedResponse, ParkedState, RedriveRequest,
};
use proto::order::v1::OrderStatus;
use proto::registration::v1::{GrantStaffRequest, RefreshRequest, RefreshResponse, Tokens};
use sea_orm::ConnectionTrait as _;
use testkit::{eventually, eventually_some};
use tonic::Code;

use crate::buying::{cancel, ended};
use crate::invariants::everything_adds_up;
use crate::sealing::{DELIVER, Sealing, deliver};
use crate::shop::{TestShop, master_key, order_of};
use crate::stranger::{PLACE_ORDER, Stranger};

const LIST: &str = "millrace.operator.v1.OperatorService/ListParked";
const REDRIVE: &str = "millrace.operator.v1.OperatorService/Redrive";
const DROP: &str = "millrace.operator.v1.OperatorService/Drop";
const GET_COMMAND: &str = "millrace.command.v1.CommandService/GetCommand";
const WAIT_COMMAND: &str = "millrace.command.v1.CommandService/WaitCommand";
const GRANT_STAFF: &str = "millrace.registration.v1.RegistrationService/GrantStaff";
const REFRESH: &str = "millrace.registration.v1.RegistrationService/Refresh";
const READ: &str = "millrace.eventlog.v1.EventLogService/Read";

/// A shop that gives up soon.
async fn impatient() -> TestShop {
    TestShop::with(|settings| {
        settings.retry.attempts = 2;
        settings.retry.first = Duration::from_millis(10);
    })
    .await
}

pub(crate) fn operator(shop: &TestShop) -> Operator {
    let service = |role: Role| {
        let key = master_key().owner(role.name()).pair(OPERATOR);
        (role, Service { address: format!("http://{}", shop.address(role)), key })
    };
    let services: BTreeMap<_, _> = Role::services().map(service).collect();
    Operator::new(Arc::new(Schema::embedded().unwrap()), services, None, "ana".to_owned()).unwrap()
}

async fn listed(operator: &Operator, role: Role, selection: &Selection) -> Vec<Found> {
    operator.list(role, selection).await.unwrap()
}

/// An order that was canceled, and whose creation billing cannot apply, because it lacks a table.
async fn poisoned_order(shop: &mut TestShop) -> String {
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Billing).await.unwrap();
    let order = order_of(&customer, "poisoned", "teapot", &card).await;
    cancel(&customer, &order).await.unwrap();
    change(shop, Role::Billing, "alter table payment_method rename to hidden").await;
    shop.start_role(Role::Billing).await.unwrap();
    order
}

async fn change(shop: &TestShop, role: Role, statement: &str) {
    let database = ledger::connect(&shop.settings().database_of(role.name())).await.unwrap();
    database.execute_unprepared(statement).await.unwrap();
    database.close().await.unwrap();
}

#[derive(sea_orm::FromQueryResult)]
struct Count {
    count: i64,
}

/// Billing has come to the end of the order's events.
async fn goes_on(shop: &TestShop, order: &str) {
    let sql =
        format!("select count(*) as count from cursor where key = 'order/{order}' and revision >= 2 and state = 1");
    eventually("the key goes on", async || shop.query::<Count>("billing", &sql).await[0].count == 1).await;
}

async fn parked(operator: &Operator, role: Role, selection: &Selection) -> Found {
    eventually_some("it is parked", async || {
        let found = listed(operator, role, selection).await;
        found.into_iter().find(Found::is_open)
    })
    .await
}

#[tokio::test]
async fn a_parked_key_is_shown_repaired_and_driven_again() {
    let mut shop = impatient().await;
    let order = poisoned_order(&mut shop).await;
    let operator = operator(&shop);
    let key = Selection { key: Some(format!("order/{order}")), ..Default::default() };
    let found = parked(&operator, Role::Billing, &key).await;
    let selections = [
        Selection { name: Some("orders".to_owned()), ..Default::default() },
        Selection { error: Some("Payment_Method".to_owned()), ..Default::default() },
        Selection { ids: vec![found.parked.id.clone()], ..Default::default() },
    ];
    for selection in selections {
        assert_eq!(listed(&operator, Role::Billing, &selection).await.len(), 1, "{selection:?}");
    }
    let other = Selection { error: Some("no such reason".to_owned()), ..Default::default() };
    assert_eq!(listed(&operator, Role::Billing, &other).await.len(), 0);

    let shown = operator.show(&found).await.unwrap();
    assert_eq!(shown.r#type, "millrace.order.v1.OrderCreated");
    assert!(shown.json.contains(&order) && shown.json.contains("teapot"), "{}", shown.json);
    change(&shop, Role::Billing, "alter table hidden rename to payment_method").await;
    operator.redrive(&found).await.unwrap();
    goes_on(&shop, &order).await;
    assert_eq!(listed(&operator, Role::Billing, &Selection::default()).await.len(), 0);
    everything_adds_up(&shop, 2).await;
}

#[tokio::test]
async fn a_dropped_event_is_skipped_and_its_key_is_shown_as_diverged() {
    let mut shop = impatient().await;
    let order = poisoned_order(&mut shop).await;
    let operator = operator(&shop);
    let key = Selection { key: Some(format!("order/{order}")), ..Default::default() };
    let found = parked(&operator, Role::Billing, &key).await;
    operator.drop(&found, "beyond repair").await.unwrap();
    goes_on(&shop, &order).await;
    let left = listed(&operator, Role::Billing, &key).await;
    let dropped = left[0].parked.dropped.clone().unwrap();
    assert_eq!((left.len(), left[0].parked.state(), left[0].parked.revision), (1, ParkedState::Diverged, 1));
    assert_eq!((dropped.author.as_str(), dropped.note.as_str()), ("operator/ana", "beyond repair"));
    let refused = operator.drop(&found, "").await.unwrap_err().to_string();
    assert!(refused.contains("not parked"), "{refused}");
}

#[tokio::test]
async fn a_command_that_failed_is_carried_out_again_and_its_customer_learns_of_it() {
    let shop = impatient().await;
    let (customer, card) = shop.customer_with_card().await;
    change(&shop, Role::Order, "alter table order_view rename to hidden").await;
    let failed = customer.place("key", "teapot", 1, &card).await.unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
    let operator = operator(&shop);
    let commands = Selection { commands: true, ..Default::default() };
    let found = parked(&operator, Role::Order, &commands).await;
    let shown = operator.show(&found).await.unwrap();
    assert!(shown.r#type.ends_with("PlaceOrderRequest") && shown.json.contains("teapot"), "{shown:?}");
    assert_eq!(listed(&operator, Role::Order, &Selection::default()).await.len(), 0, "they have a list of their own");

    change(&shop, Role::Order, "alter table hidden rename to order_view").await;
    operator.redrive(&found).await.unwrap();
    assert_eq!(ended(&customer, &found.parked.key).await, OrderStatus::Processed, "under the same id");
    let placed = customer.place("key", "teapot", 1, &card).await.unwrap().0;
    assert_eq!(placed.order.unwrap().order_id, found.parked.key, "and whoever asks again is told so");
}

#[tokio::test]
async fn nobody_decides_but_operators_and_staff_and_an_operator_does_nothing_else() {
    let shop = TestShop::start().await;
    let inside = Stranger::inside(&shop, Role::Order);
    let list = ListParkedRequest { service: "order".to_owned(), ..Default::default() }.encode_to_vec();
    let redrive =
        RedriveRequest { service: "order".to_owned(), id: "event:x:order/y".to_owned(), author: "eve".to_owned() };
    let redrive = redrive.encode_to_vec();
    let id = |n: u8| Id::timed(u64::from(n), [n; 10]);
    let with_seal = |sealing: &Sealing, method: &str, body: &[u8]| {
        inside.with("millrace-seal", &seal::to_text(&sealing.query(method, body)))
    };
    let a_user = Sealing::of(Role::Order, &id(1).to_string(), &id(2).to_string());
    let caller =
        |name: &str| Sealing { principal: Principal::service(name), ..Sealing::by(Role::Gateway, Role::Order) };
    let mut refused = vec![("a user who is no staff", a_user.clone()), ("the gateway for nobody", caller("gateway"))];
    refused.extend(["registration", "user", "order", "billing", "Operator"].map(|name| (name, caller(name))));
    for (who, sealing) in refused {
        let answer = with_seal(&sealing, LIST, &list).refused_bytes(LIST, list.clone()).await;
        assert_eq!((answer.code, answer.reason.as_str()), (Code::PermissionDenied, "FORBIDDEN"), "{who}");
        let command = sealing.command(REDRIVE, id(3), &redrive);
        inside.refused(DELIVER, &command).await.is(Code::PermissionDenied, "FORBIDDEN");
    }
    inside.refused_bytes(LIST, list.clone()).await.is(Code::PermissionDenied, "BAD_SEAL");

    let mut staff = a_user;
    staff.principal.roles = vec!["staff".to_owned()];
    for sealing in [staff, caller(OPERATOR)] {
        with_seal(&sealing, LIST, &list).send(LIST, list.clone()).await.unwrap();
        let answer = deliver(&inside, &sealing.command(REDRIVE, id(4), &redrive)).await;
        let Some(Outcome::Error(error)) = answer.outcome else { panic!("{answer:?}") };
        assert_eq!(error.code, Code::NotFound as i32, "judged, and found not to be parked");
    }

    let read = ReadRequest { ranges: Vec::new(), limit: 1 }.encode_to_vec();
    let operator = caller(OPERATOR);
    with_seal(&operator, READ, &read).refused_bytes(READ, read).await.is(Code::PermissionDenied, "FORBIDDEN");
    let order = operator.command(PLACE_ORDER, id(5), &[]);
    inside.refused(DELIVER, &order).await.is(Code::PermissionDenied, "FORBIDDEN");
}

/// Somebody whom an operator has made staff, and the user's id.
async fn staff(shop: &TestShop, address: &str) -> (Stranger, String) {
    let (customer, login) = Stranger::logged_in(shop, address).await;
    operator(shop).grant_staff(&login.user_id).await.unwrap();
    (customer.bearing(&refreshed(&customer, &login.tokens.unwrap()).await.access_token), login.user_id)
}

async fn refreshed(customer: &Stranger, tokens: &Tokens) -> Tokens {
    let request = RefreshRequest { refresh_token: tokens.refresh_token.clone() };
    customer.ask::<RefreshResponse>(REFRESH, &request).await.unwrap().tokens.unwrap()
}

#[tokio::test]
async fn who_is_staff_is_decided_by_operators_and_by_nobody_else() {
    let shop = TestShop::start().await;
    let list = ListParkedRequest { service: "order".to_owned(), ..Default::default() };
    let (customer, login) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let (operator, user_id) = (operator(&shop), login.user_id);
    let grant = GrantStaffRequest { user_id: user_id.clone(), author: "eve".to_owned() };
    customer.refused(GRANT_STAFF, &grant).await.is(Code::PermissionDenied, "STAFF_ONLY");
    operator.grant_staff(&user_id).await.unwrap();
    customer.refused(LIST, &list).await.is(Code::PermissionDenied, "STAFF_ONLY");

    let tokens = refreshed(&customer, &login.tokens.unwrap()).await;
    let staff = customer.bearing(&tokens.access_token);
    staff.call(LIST, &list).await.unwrap();
    staff.refused(GRANT_STAFF, &grant).await.is(Code::PermissionDenied, "OPERATORS_ONLY");
    operator.revoke_staff(&user_id).await.unwrap();
    let no_staff = customer.bearing(&refreshed(&customer, &tokens).await.access_token);
    no_staff.refused(LIST, &list).await.is(Code::PermissionDenied, "STAFF_ONLY");
    let unknown = operator.grant_staff(&Id::timed(1, [1; 10]).to_string()).await.unwrap_err();
    assert_eq!(unknown.to_string(), "registration: there is no such user");
}

/// It names the service that was asked, so any gateway knows where to look.
async fn a_receipt_is_found_by_who_has_it(staff: &Stranger, other: &Stranger, receipt: &Receipt) {
    assert!(receipt.command.starts_with("billing.drop/"), "{receipt:?}");
    let get = GetCommandRequest { command: receipt.command.clone() };
    let found: GetCommandResponse = staff.ask(GET_COMMAND, &get).await.unwrap();
    assert_eq!(found.receipt.unwrap().state(), State::Completed);
    let wait = WaitCommandRequest { command: receipt.command.clone(), timeout: None };
    let waited: WaitCommandResponse = staff.ask(WAIT_COMMAND, &wait).await.unwrap();
    assert_eq!(waited.receipt.unwrap().state(), State::Completed);
    other.refused(GET_COMMAND, &get).await.is(Code::PermissionDenied, "COMMAND_NOT_YOURS");
    let elsewhere = GetCommandRequest { command: receipt.command.replace("billing", "order") };
    let unknown: GetCommandResponse = staff.ask(GET_COMMAND, &elsewhere).await.unwrap();
    assert_eq!(unknown.receipt.unwrap().state(), State::Unknown);
}

#[tokio::test]
async fn staff_decide_through_the_gateway_and_are_written_down_by_their_own_names() {
    let mut shop = impatient().await;
    let order = poisoned_order(&mut shop).await;
    let key = Selection { key: Some(format!("order/{order}")), ..Default::default() };
    let found = parked(&operator(&shop), Role::Billing, &key).await.parked;
    let nobody = ListParkedRequest { service: "nobody".to_owned(), ..Default::default() };
    let list = ListParkedRequest { service: "billing".to_owned(), ..Default::default() };
    let (customer, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    customer.refused(LIST, &list).await.is(Code::PermissionDenied, "STAFF_ONLY");
    Stranger::outside(&shop).refused(LIST, &list).await.is(Code::Unauthenticated, "MISSING_TOKEN");

    let (staff, user) = staff(&shop, "staff@example.com").await;
    staff.refused(LIST, &nobody).await.is_for_fields(&["service"]);
    let listed: ListParkedResponse = staff.ask(LIST, &list).await.unwrap();
    assert_eq!(listed.parked, std::slice::from_ref(&found));
    let drop_it = |service: &str| DropRequest {
        service: service.to_owned(),
        id: found.id.clone(),
        revision: found.revision,
        author: "somebody else".to_owned(),
        note: String::new(),
    };
    staff.refused(DROP, &drop_it("order")).await.is(Code::NotFound, "NOT_PARKED");
    let dropped: DropResponse = staff.ask(DROP, &drop_it("billing")).await.unwrap();
    let receipt = dropped.receipt.unwrap();
    assert_eq!(receipt.state(), State::Completed);
    a_receipt_is_found_by_who_has_it(&staff, &customer, &receipt).await;
    goes_on(&shop, &order).await;
    let left: ListParkedResponse = staff.ask(LIST, &list).await.unwrap();
    assert_eq!(left.parked[0].dropped.as_ref().unwrap().author, format!("user/{user}"));
}
