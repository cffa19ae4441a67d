//! What strangers try at the gateway: each is refused for what it is, and leaves nothing behind.

use event::{Access, Id, Method, Schema};
use proto::Message;
use proto::billing::v1::GetPaymentRequest;
use proto::command::v1::{GetCommandRequest, GetCommandResponse, WaitCommandRequest};
use proto::money::v1::Money;
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{
    CancelOrderRequest, GetOrderHistoryRequest, GetOrderRequest, GetOrderResponse, ListOrdersRequest,
    ListOrdersResponse, OrderStatus, PlaceOrderRequest, PlaceOrderResponse, WatchOrderRequest,
};
use proto::registration::v1::RegisterRequest;
use proto::user::v1::{GetProfileRequest, Profile, UpdateProfileRequest};
use tonic::Code;

use crate::shop::{TestShop, order_of};
use crate::stranger::{GET_ORDER, GET_PAYMENT, GET_PROFILE, LIST_ORDERS, PLACE_ORDER, REGISTER, Stranger, tally};

const GET_COMMAND: &str = "millrace.command.v1.CommandService/GetCommand";
const WAIT_COMMAND: &str = "millrace.command.v1.CommandService/WaitCommand";
const CANCEL_ORDER: &str = "millrace.order.v1.OrderService/CancelOrder";
const UPDATE_PROFILE: &str = "millrace.user.v1.UserService/UpdateProfile";
const GET_ORDER_HISTORY: &str = "millrace.order.v1.OrderService/GetOrderHistory";
const WATCH_ORDER: &str = "millrace.order.v1.OrderService/WatchOrder";

fn public_methods(schema: &Schema) -> impl Iterator<Item = &Method> {
    schema.methods().filter(|method| method.access != Access::Internal)
}

fn order(lines: &[(&str, i32)]) -> PlaceOrderRequest {
    let line = |&(sku, quantity): &(&str, i32)| Line { sku: sku.to_owned(), quantity };
    let payment_method_id = Id::timed(1, [1; 10]).to_string();
    PlaceOrderRequest { lines: lines.iter().map(line).collect(), payment_method_id, expected_total: None }
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_by_every_method() {
    let shop = TestShop::start().await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let before = tally(&shop).await;
    for method in public_methods(&Schema::embedded().unwrap()) {
        let refused = async |body: &[u8]| somebody.refused_bytes(&method.name, body.to_vec()).await;
        if method.access == Access::Staff {
            refused(b"\xff\xff\xff").await.is(Code::PermissionDenied, "STAFF_ONLY");
            continue;
        }
        refused(b"\xff\xff\xff").await.is(Code::InvalidArgument, "MALFORMED_MESSAGE");
        refused(b"\x0a\x7fcut short").await.is(Code::InvalidArgument, "MALFORMED_MESSAGE");
        refused(&vec![0; (256 << 10) + 1]).await.is(Code::InvalidArgument, "MESSAGE_TOO_LARGE");
        let compressed = somebody.with("grpc-encoding", "gzip");
        compressed.refused_bytes(&method.name, "").await.is(Code::Unimplemented, "COMPRESSED_MESSAGE");
    }
    assert_eq!(tally(&shop).await, before);
}

#[tokio::test]
async fn methods_that_are_not_for_strangers_are_no_different_from_those_that_do_not_exist() {
    let shop = TestShop::start().await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let before = tally(&shop).await;
    let schema = Schema::embedded().unwrap();
    let internal = schema.methods().filter(|method| method.access == Access::Internal).map(|method| &*method.name);
    let invented = ["millrace.order.v1.OrderService/Steal", "order", "millrace.order.v1.OrderService/PlaceOrder/"];
    let mut words = Vec::new();
    for method in internal.chain(invented) {
        let refusal = somebody.refused_bytes(method, "").await;
        refusal.is(Code::Unimplemented, "UNKNOWN_METHOD");
        words.push(refusal);
    }
    assert!(words.windows(2).all(|pair| pair[0] == pair[1]), "{words:#?}");
    assert_eq!(tally(&shop).await, before);
}

#[tokio::test]
async fn someone_elses_things_are_refused_whatever_is_tried_with_them() {
    let shop = TestShop::start().await;
    let (owner, card) = shop.customer_with_card().await;
    let order_id = order_of(&owner, "key-1", "piano", &card).await;
    owner.watch(&order_id, |order| !order.reason.is_empty()).await.unwrap();
    let (other, _) = Stranger::logged_in(&shop, "other@example.com").await;
    let before = tally(&shop).await;

    for id in [order_id.clone(), Id::timed(7, [7; 10]).to_string()] {
        let order_id = || id.clone();
        let refused = async |method, request: &dyn DynMessage| other.refused_bytes(method, request.bytes()).await;
        for refusal in [
            refused(GET_ORDER, &GetOrderRequest { order_id: order_id(), as_of: None }).await,
            refused(WATCH_ORDER, &WatchOrderRequest { order_id: order_id(), after_revision: 0 }).await,
            refused(GET_ORDER_HISTORY, &GetOrderHistoryRequest { order_id: order_id() }).await,
        ] {
            refusal.is(Code::PermissionDenied, "ORDER_NOT_YOURS");
        }
        let payment = refused(GET_PAYMENT, &GetPaymentRequest { order_id: order_id() }).await;
        payment.is(Code::PermissionDenied, "PAYMENT_NOT_YOURS");
    }
    for method in [GET_COMMAND, WAIT_COMMAND] {
        let command = format!("order.place-order/{order_id}");
        other.refused(method, &GetCommandRequest { command }).await.is(Code::PermissionDenied, "COMMAND_NOT_YOURS");
    }
    let user_id = owner.user_id.clone();
    let profile = other.refused(GET_PROFILE, &GetProfileRequest { user_id: user_id.clone() }).await;
    profile.is(Code::PermissionDenied, "PROFILE_NOT_YOURS");
    assert_eq!(tally(&shop).await, before);

    // A refused command is remembered, and that is all there is of it.
    other.refused(CANCEL_ORDER, &CancelOrderRequest { order_id }).await.is(Code::PermissionDenied, "ORDER_NOT_YOURS");
    let profile = Some(Profile { user_id, display_name: "Mine now".to_owned(), ..Profile::default() });
    let update = UpdateProfileRequest { profile, update_mask: None };
    other.refused(UPDATE_PROFILE, &update).await.is(Code::PermissionDenied, "PROFILE_NOT_YOURS");
    let mut expected = before;
    *expected.get_mut("order.receipt").unwrap() += 1;
    *expected.get_mut("user.receipt").unwrap() += 1;
    assert_eq!(tally(&shop).await, expected);
}

#[tokio::test]
async fn fields_at_fault_are_named_and_nothing_is_kept() {
    let shop = TestShop::start().await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let before = tally(&shop).await;
    let many = vec![("teapot", 1); 101];
    let not_an_id = || "/".repeat(22);
    let cases: [(&str, &dyn DynMessage, &[&str]); 17] = [
        (PLACE_ORDER, &order(&[]), &["lines"]),
        (PLACE_ORDER, &order(&many), &["lines"]),
        (PLACE_ORDER, &order(&[("teapot", -1)]), &["lines[0].quantity"]),
        (
            PLACE_ORDER,
            &order(&[("teapot", i32::MIN), ("", 1001)]),
            &["lines[0].quantity", "lines[1].sku", "lines[1].quantity"],
        ),
        (
            PLACE_ORDER,
            &PlaceOrderRequest { payment_method_id: "mine".to_owned(), ..order(&[("teapot", 1)]) },
            &["payment_method_id"],
        ),
        (CANCEL_ORDER, &CancelOrderRequest { order_id: String::new() }, &["order_id"]),
        (CANCEL_ORDER, &CancelOrderRequest { order_id: not_an_id() }, &["order_id"]),
        (GET_ORDER, &GetOrderRequest { order_id: not_an_id(), as_of: None }, &["order_id"]),
        (WATCH_ORDER, &WatchOrderRequest { order_id: not_an_id(), after_revision: 0 }, &["order_id"]),
        (WATCH_ORDER, &WatchOrderRequest { order_id: not_an_id(), after_revision: i64::MIN }, &["after_revision"]),
        (LIST_ORDERS, &ListOrdersRequest { page_size: -1, page_token: String::new() }, &["page_size"]),
        (
            LIST_ORDERS,
            &ListOrdersRequest { page_size: i32::MIN, page_token: "?".repeat(1000) },
            &["page_size", "page_token"],
        ),
        (GET_PAYMENT, &GetPaymentRequest { order_id: not_an_id() }, &["order_id"]),
        (
            GET_COMMAND,
            &GetCommandRequest { command: "order.get-order/AAAAAAAAAAAAAAAAAAAAAA".to_owned() },
            &["command"],
        ),
        (GET_COMMAND, &GetCommandRequest { command: "order.place-order/> *".to_owned() }, &["command"]),
        (WAIT_COMMAND, &wait_for(-1), &["timeout"]),
        (
            REGISTER,
            &RegisterRequest { password: "short".to_owned(), address: "@".to_owned(), ..RegisterRequest::default() },
            &["address", "password", "display_name", "country"],
        ),
    ];
    for (method, request, fields) in cases {
        somebody.refused_bytes(method, request.bytes()).await.is_for_fields(fields);
    }
    assert_eq!(tally(&shop).await, before);
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused_and_the_refusal_is_all_that_is_kept() {
    let shop = TestShop::start().await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let before = tally(&shop).await;
    let unknown = somebody.refused(PLACE_ORDER, &order(&[("teapot", 1), ("unicorn", 1)])).await;
    unknown.is(Code::FailedPrecondition, "UNKNOWN_PRODUCT");
    assert_eq!(unknown.fields, ["lines[1].sku"]);
    for expected in [Money { currency: "EUR".to_owned(), minor: 1 }, Money { currency: "USD".to_owned(), minor: 2499 }]
    {
        let request = PlaceOrderRequest { expected_total: Some(expected), ..order(&[("teapot", 1)]) };
        somebody.refused(PLACE_ORDER, &request).await.is(Code::FailedPrecondition, "TOTAL_MISMATCH");
    }
    let mut expected = before;
    *expected.get_mut("order.receipt").unwrap() += 3;
    assert_eq!(tally(&shop).await, expected);
}

#[tokio::test]
async fn a_key_that_was_used_for_something_else_is_refused_and_says_nothing_of_that() {
    let shop = TestShop::start().await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let once = somebody.with("idempotency-key", "once");
    let placed: PlaceOrderResponse = once.ask(PLACE_ORDER, &order(&[("teapot", 1)])).await.unwrap();
    let order_id = placed.order.unwrap().order_id;
    testkit::eventually("its payment method turns out to be nobody's", async || {
        let request = GetOrderRequest { order_id: order_id.clone(), as_of: None };
        let found: GetOrderResponse = somebody.ask(GET_ORDER, &request).await.unwrap();
        found.order.unwrap().status() == OrderStatus::PaymentFailed
    })
    .await;
    let before = tally(&shop).await;
    let refusal = once.refused(PLACE_ORDER, &order(&[("teapot", 2)])).await;
    refusal.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(refusal.receipt, None, "the receipt under this key is the other order's, and that one went well");
    let placed = placed.receipt.unwrap();
    let found: GetCommandResponse =
        somebody.ask(GET_COMMAND, &GetCommandRequest { command: placed.command.clone() }).await.unwrap();
    assert_eq!(found.receipt.unwrap(), placed, "as the call had it, and not as a retry would");
    assert_eq!(tally(&shop).await, before);
}

#[tokio::test]
async fn pages_are_bounded_whatever_is_asked_for() {
    let shop = TestShop::start().await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    for number in 0..21 {
        let request = somebody.with("idempotency-key", &number.to_string());
        request.call(PLACE_ORDER, &order(&[("honey", 1)])).await.unwrap();
    }
    let page = |page_size, token: &str| ListOrdersRequest { page_size, page_token: token.to_owned() };
    for (size, found) in [(0, 20), (1, 1), (i32::MAX, 21)] {
        let orders: ListOrdersResponse = somebody.ask(LIST_ORDERS, &page(size, "")).await.unwrap();
        assert_eq!(orders.orders.len(), found, "a page of {size}");
    }
    for token in ["x", "' or 1=1 --", &"A".repeat(31), &"A".repeat(100_000)] {
        let refusal = somebody.refused(LIST_ORDERS, &page(0, token)).await;
        assert_eq!((refusal.code, refusal.fields.as_slice()), (Code::InvalidArgument, &["page_token".to_owned()][..]));
    }
    // Well formed, and made up: a place before all time.
    let none: ListOrdersResponse = somebody.ask(LIST_ORDERS, &page(0, &"A".repeat(32))).await.unwrap();
    assert_eq!(none.orders, []);
}

#[tokio::test]
async fn metadata_that_cannot_be_meant_are_refused() {
    let shop = TestShop::start().await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let before = tally(&shop).await;
    for (name, value, reason) in [
        ("idempotency-key", "", "INVALID_IDEMPOTENCY_KEY"),
        ("idempotency-key", &*"k".repeat(256), "INVALID_IDEMPOTENCY_KEY"),
        ("consistency-token", &*"t".repeat(4097), "INVALID_CONSISTENCY_TOKEN"),
        ("x-anything", &*"x".repeat(20_000), "METADATA_TOO_LARGE"),
    ] {
        let refusal = somebody.with(name, value).refused(PLACE_ORDER, &order(&[("teapot", 1)])).await;
        refusal.is(Code::InvalidArgument, reason);
    }
    // What HTTP/2 itself does not let through has no words of ours, but it does not get through.
    let huge = somebody.with("x-anything", &"x".repeat(100_000));
    huge.call(PLACE_ORDER, &order(&[("teapot", 1)])).await.unwrap_err();
    assert_eq!(tally(&shop).await, before);
}

fn wait_for(seconds: i64) -> WaitCommandRequest {
    let command = "order.place-order/AAAAAAAAAAAAAAAAAAAAAA".to_owned();
    WaitCommandRequest { command, timeout: Some(prost_types::Duration { seconds, nanos: 0 }) }
}

/// Requests of different types in one table.
trait DynMessage {
    fn bytes(&self) -> Vec<u8>;
}

impl<M: Message> DynMessage for M {
    fn bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}
