//! Calls to a service's own port: being inside the cluster proves nothing.

use event::Id;
use identity::seal;
use millrace::Role;
use prost::Message as _;
use proto::command::v1::deliver_response::Outcome;
use proto::command::v1::{DeliverRequest, GetReceiptRequest, Seal};
use proto::eventlog::v1::read_request::Range;
use proto::eventlog::v1::{ReadRequest, ReadResponse};
use proto::order::v1::{GetOrderRequest, ListOrdersRequest, PlaceOrderRequest, place_order_request::Line};
use tonic::Code;

use crate::sealing::{DELIVER, Sealing, deliver};
use crate::shop::TestShop;
use crate::stranger::{GET_ORDER, PLACE_ORDER, Stranger, tally};

const GET_RECEIPT: &str = "millrace.command.v1.DeliveryService/GetReceipt";
const LIST_ORDERS: &str = "millrace.order.v1.OrderService/ListOrders";
const READ: &str = "millrace.eventlog.v1.EventLogService/Read";

fn id(n: u8) -> Id {
    Id::timed(u64::from(n), [n; 10])
}

fn order() -> Vec<u8> {
    let lines = vec![Line { sku: "teapot".to_owned(), quantity: 1 }];
    PlaceOrderRequest { lines, payment_method_id: id(1).to_string(), expected_total: None }.encode_to_vec()
}

fn sealed(stranger: &Stranger, seal: &Seal) -> Stranger {
    stranger.with("millrace-seal", &seal::to_text(seal))
}

/// Seals that are not good for this method with this body, each with what it is refused with.
fn bad_seals(method: &str, body: &[u8]) -> Vec<(&'static str, Seal, Code)> {
    let gateway = Sealing::by(Role::Gateway, Role::Order);
    let good = gateway.query(method, body);
    let altered = Seal { statement: [&good.statement, &b"\x48\x01"[..]].concat().into(), ..good.clone() };
    vec![
        ("none at all", Seal::default(), Code::PermissionDenied),
        ("an altered statement", altered, Code::PermissionDenied),
        ("another's name on it", Seal { caller: "registration".to_owned(), ..good.clone() }, Code::PermissionDenied),
        ("no proof", Seal { mac: Vec::new().into(), ..good }, Code::PermissionDenied),
        ("another method's", gateway.query(LIST_ORDERS, body), Code::PermissionDenied),
        ("another body's", gateway.query(method, b"another"), Code::PermissionDenied),
        // It may be that of a key which is not known yet: nothing is said of it.
        ("another owner's", Sealing::by(Role::Gateway, Role::Billing).query(method, body), Code::Unavailable),
    ]
}

#[tokio::test]
async fn a_query_without_a_good_seal_is_refused() {
    let shop = TestShop::start().await;
    let inside = Stranger::inside(&shop, Role::Order);
    let get_order = GetOrderRequest { order_id: id(1).to_string(), as_of: None }.encode_to_vec();
    let read = ReadRequest { ranges: Vec::new(), limit: 1 }.encode_to_vec();
    let get_receipt = GetReceiptRequest { method: PLACE_ORDER.to_owned(), command_id: id(1).to_string() };
    for (method, body) in [(GET_ORDER, get_order), (READ, read), (GET_RECEIPT, get_receipt.encode_to_vec())] {
        for (what, seal, code) in bad_seals(method, &body) {
            let refusal = sealed(&inside, &seal).refused_bytes(method, body.clone()).await;
            assert_eq!(refusal.code, code, "{method}, {what}");
        }
        inside.refused_bytes(method, body.clone()).await.is(Code::PermissionDenied, "BAD_SEAL");
        let late = Sealing { not_after: event::Micros(1), ..Sealing::by(Role::Billing, Role::Order) };
        let late = sealed(&inside, &late.query(method, &body)).refused_bytes(method, body).await;
        late.is(Code::PermissionDenied, "FORBIDDEN");
    }
    inside.refused_bytes("millrace.order.v1.OrderService/Steal", "").await.is(Code::Unimplemented, "UNKNOWN_METHOD");
}

#[tokio::test]
async fn what_users_ask_is_brought_by_the_gateway_and_by_no_other_service() {
    let shop = TestShop::start().await;
    let (_, login) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let inside = Stranger::inside(&shop, Role::Order);
    let list = ListOrdersRequest::default().encode_to_vec();
    let gateway = Sealing::of(Role::Order, &login.user_id, &login.session_id);
    sealed(&inside, &gateway.query(LIST_ORDERS, &list)).send(LIST_ORDERS, list.clone()).await.unwrap();
    let mut billing = gateway;
    billing.principal.caller = Role::Billing.name().to_owned();
    let refusal = sealed(&inside, &billing.query(LIST_ORDERS, &list)).refused_bytes(LIST_ORDERS, list).await;
    refusal.is(Code::PermissionDenied, "FORBIDDEN");
}

#[tokio::test]
async fn a_command_without_a_good_seal_is_refused_and_changes_nothing() {
    let shop = TestShop::start().await;
    let inside = Stranger::inside(&shop, Role::Order);
    let before = tally(&shop).await;
    let with_seal = |seal: &Seal| DeliverRequest {
        method: PLACE_ORDER.to_owned(),
        seal: seal.encode_to_vec().into(),
        key: String::new(),
        body: order().into(),
    };
    for (what, seal, code) in bad_seals(PLACE_ORDER, &order()) {
        assert_eq!(inside.refused(DELIVER, &with_seal(&seal)).await.code, code, "{what}");
    }
    let gateway = Sealing::of(Role::Order, &id(1).to_string(), &id(2).to_string());
    let no_command = inside.refused(DELIVER, &with_seal(&gateway.query(PLACE_ORDER, &order()))).await;
    no_command.is(Code::PermissionDenied, "FORBIDDEN");
    let no_key = DeliverRequest { key: "*".to_owned(), ..gateway.command(PLACE_ORDER, id(3), &order()) };
    inside.refused(DELIVER, &no_key).await.is(Code::PermissionDenied, "FORBIDDEN");
    let service = Sealing::by(Role::Billing, Role::Order).command(PLACE_ORDER, id(3), &order());
    inside.refused(DELIVER, &service).await.is(Code::PermissionDenied, "FORBIDDEN");
    inside.refused_bytes(DELIVER, &b"\xff"[..]).await.is(Code::InvalidArgument, "MALFORMED_MESSAGE");
    assert_eq!(tally(&shop).await, before);
}

#[tokio::test]
async fn a_log_is_read_by_services_and_by_nobody_else() {
    let shop = TestShop::start().await;
    let (_, login) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let inside = Stranger::inside(&shop, Role::Registration);
    let range = Range { key: format!("account/{}", login.user_id), after_revision: 0 };
    let read = ReadRequest { ranges: vec![range], limit: 10 }.encode_to_vec();
    let user = Sealing::of(Role::Registration, &login.user_id, &login.session_id);
    for seal in [Sealing::by(Role::Gateway, Role::Registration), user].map(|sealing| sealing.query(READ, &read)) {
        let refusal = sealed(&inside, &seal).refused_bytes(READ, read.clone()).await;
        refusal.is(Code::PermissionDenied, "FORBIDDEN");
    }
    let service = sealed(&inside, &Sealing::by(Role::Order, Role::Registration).query(READ, &read));
    let events = ReadResponse::decode(service.send(READ, read).await.unwrap()).unwrap().events;
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn a_receipt_is_for_whoever_sent_the_command() {
    let shop = TestShop::start().await;
    let (_, sender) = Stranger::logged_in(&shop, "sender@example.com").await;
    let (_, other) = Stranger::logged_in(&shop, "other@example.com").await;
    let inside = Stranger::inside(&shop, Role::Order);
    let command = Sealing::of(Role::Order, &sender.user_id, &sender.session_id).command(PLACE_ORDER, id(3), &order());
    let done = deliver(&inside, &command).await;
    assert!(matches!(done.outcome, Some(Outcome::Response(_))), "{done:?}");
    let request = GetReceiptRequest { method: PLACE_ORDER.to_owned(), command_id: id(3).to_string() }.encode_to_vec();
    let asking = |user: &str, session: &str| {
        sealed(&inside, &Sealing::of(Role::Order, user, session).query(GET_RECEIPT, &request))
    };
    asking(&sender.user_id, &sender.session_id).send(GET_RECEIPT, request.clone()).await.unwrap();
    let refusal = asking(&other.user_id, &other.session_id).refused_bytes(GET_RECEIPT, request.clone()).await;
    refusal.is(Code::PermissionDenied, "COMMAND_NOT_YOURS");
}
