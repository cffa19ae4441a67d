//! The shop as a page sees it: gRPC-Web over plain HTTP/1.1, by hand, with no gRPC library. And what the same port offers others.

use std::collections::BTreeSet;

use prost::Message as _;
use proto::billing::v1::{AddPaymentMethodRequest, AddPaymentMethodResponse};
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{
    ListOrdersRequest, OrderStatus, PlaceOrderRequest, PlaceOrderResponse, WatchOrderRequest, WatchOrderResponse,
};
use proto::registration::v1::{LoginRequest, LoginResponse, RegisterRequest, RegisterResponse};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::page::{Page, http, lines};
use crate::shop::TestShop;
use crate::stranger::{LIST_ORDERS, LOGIN, PASSWORD, PLACE_ORDER, REGISTER};

const ADD_PAYMENT_METHOD: &str = "millrace.billing.v1.BillingService/AddPaymentMethod";
const WATCH_ORDER: &str = "millrace.order.v1.OrderService/WatchOrder";

/// Register, log in, add a card, order, and watch the order to its end.
async fn a_page_can_do_the_whole_job(as_text: bool) {
    let shop = TestShop::start().await;
    let page = Page { shop: &shop, as_text, headers: String::new() };
    let (address, password) = ("page@example.com".to_owned(), PASSWORD.to_owned());
    let register = RegisterRequest {
        address: address.clone(),
        password: password.clone(),
        display_name: "Page".to_owned(),
        country: "DE".to_owned(),
        locale: String::new(),
    };
    let registered: RegisterResponse = page.ask(REGISTER, &register).await;
    let login: LoginResponse = page.ask(LOGIN, &LoginRequest { address, password, ..Default::default() }).await;
    assert_eq!(login.user_id, registered.user_id);
    let page = page.with("authorization", &format!("Bearer {}", login.tokens.unwrap().access_token));
    let card_token = "tok_declined".to_owned();
    let card = AddPaymentMethodRequest { card_token, country: "DE".to_owned(), label: "card".to_owned() };
    let card: AddPaymentMethodResponse = page.ask(ADD_PAYMENT_METHOD, &card).await;
    let order = PlaceOrderRequest {
        lines: vec![Line { sku: "teapot".to_owned(), quantity: 2 }],
        payment_method_id: card.payment_method.unwrap().payment_method_id,
        expected_total: None,
    };
    let page_once = page.with("idempotency-key", "once");
    let placed: PlaceOrderResponse = page_once.ask(PLACE_ORDER, &order).await;
    let again: PlaceOrderResponse = page_once.ask(PLACE_ORDER, &order).await;
    assert_eq!(placed.order, again.order);

    // A declined order comes to its end, and with it the stream.
    let order_id = placed.order.unwrap().order_id;
    let watched = page.call(WATCH_ORDER, &WatchOrderRequest { order_id, after_revision: 0 }).await;
    assert_eq!(watched.trailer("grpc-status"), Some("0"), "{:?}", watched.trailers);
    let last = WatchOrderResponse::decode(watched.messages.last().unwrap().as_slice()).unwrap().order.unwrap();
    assert_eq!(last.status(), OrderStatus::PaymentFailed);
}

#[tokio::test]
async fn a_page_can_do_the_whole_job_in_bytes() {
    a_page_can_do_the_whole_job(false).await;
}

#[tokio::test]
async fn a_page_can_do_the_whole_job_in_text() {
    a_page_can_do_the_whole_job(true).await;
}

#[tokio::test]
async fn a_page_is_told_why_it_is_refused() {
    let shop = TestShop::start().await;
    for as_text in [false, true] {
        let page = Page { shop: &shop, as_text, headers: String::new() };
        let refused = page.call(LIST_ORDERS, &ListOrdersRequest::default()).await;
        assert_eq!((refused.trailer("grpc-status"), refused.reason().as_str()), (Some("16"), "MISSING_TOKEN"));
        let unknown = page.call("millrace.command.v1.DeliveryService/Deliver", &ListOrdersRequest::default()).await;
        assert_eq!((unknown.trailer("grpc-status"), unknown.reason().as_str()), (Some("12"), "UNKNOWN_METHOD"));
        let login =
            LoginRequest { address: "nobody@example.com".to_owned(), password: "x".to_owned(), ..Default::default() };
        let wrong = page.call(LOGIN, &login).await;
        assert_eq!((wrong.trailer("grpc-status"), wrong.reason().as_str()), (Some("16"), "WRONG_CREDENTIALS"));
        for timeout in ["0n", "1n", "0S"] {
            let hurried = page.with("grpc-timeout", timeout).call(LOGIN, &login).await;
            assert_eq!((hurried.trailer("grpc-status"), hurried.reason().as_str()), (Some("4"), "DEADLINE_EXCEEDED"));
        }
        for timeout in ["99999999H", "-5S", "soon", "123456789012S"] {
            assert_eq!(page.with("grpc-timeout", timeout).call(LOGIN, &login).await.reason(), "WRONG_CREDENTIALS");
        }
    }
}

#[tokio::test]
async fn a_browser_is_told_what_a_page_may_send_and_read() {
    let shop = TestShop::with(|settings| settings.allowed_origins = vec!["*".to_owned()]).await;
    let (head, _) = http(
        &shop,
        &format!(
            "OPTIONS /{PLACE_ORDER} HTTP/1.1\r\norigin: https://shop.example\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: authorization,content-type,idempotency-key,x-grpc-web\r\n"
        ),
        b"",
    )
    .await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    let allowed = lines(&head).find(|(name, _)| name == "access-control-allow-headers").unwrap().1;
    for name in ["authorization", "content-type", "idempotency-key", "consistency-token", "x-grpc-web", "grpc-timeout"]
    {
        assert!(allowed.split(',').any(|allowed| allowed.trim() == name), "{name} is not in {allowed}");
    }
    assert!(!head.contains("access-control-allow-credentials"), "{head}");
}

#[tokio::test]
async fn the_same_port_serves_grpc_its_description_and_its_health() {
    let shop = TestShop::start().await;
    let channel = shop.channel();
    let (customer, _) = shop.customer_with_card().await;
    assert_eq!(customer.orders().await.unwrap(), []);

    let mut health = HealthClient::new(channel.clone());
    for service in ["", "millrace.order.v1.OrderService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service} serves");
    }
    let list = Some(MessageRequest::ListServices(String::new()));
    let list = tokio_stream::once(ServerReflectionRequest { host: String::new(), message_request: list });
    let mut told = ServerReflectionClient::new(channel).server_reflection_info(list).await.unwrap().into_inner();
    let told = told.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(told)) = told else { panic!("{told:?}") };
    let told: Vec<_> = told.service.into_iter().map(|service| service.name).collect();
    let ours: BTreeSet<_> = told.iter().filter_map(|name| name.strip_prefix("millrace.")).collect();
    let public = [
        "billing.v1.BillingService",
        "command.v1.CommandService",
        "operator.v1.MaintenanceService",
        "operator.v1.OperatorService",
        "order.v1.OrderService",
        "registration.v1.RegistrationService",
        "user.v1.UserService",
    ];
    assert_eq!(ours, BTreeSet::from(public));
}
