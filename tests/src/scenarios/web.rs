//! The shop as a page sees it: gRPC-Web over plain HTTP/1.1, by hand, with no gRPC library. And what the same port offers others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace::Role;
use prost::Message;
use proto::billing::v1::{AddPaymentMethodRequest, AddPaymentMethodResponse};
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{
    ListOrdersRequest, OrderStatus, PlaceOrderRequest, PlaceOrderResponse, WatchOrderRequest, WatchOrderResponse,
};
use proto::registration::v1::{LoginRequest, LoginResponse, RegisterRequest, RegisterResponse};
use proto::rpc::ErrorInfo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::shop::TestShop;
use crate::stranger::{LIST_ORDERS, LOGIN, PASSWORD, PLACE_ORDER, REGISTER};

const ADD_PAYMENT_METHOD: &str = "millrace.billing.v1.BillingService/AddPaymentMethod";
const WATCH_ORDER: &str = "millrace.order.v1.OrderService/WatchOrder";

/// A page's connection: whether its messages travel as bytes or as text, and the headers it adds.
struct Page<'s> {
    shop: &'s TestShop,
    as_text: bool,
    headers: String,
}

/// What came back: the messages, and how the call ended, by name in lower case.
struct Answer {
    messages: Vec<Vec<u8>>,
    trailers: Vec<(String, String)>,
}

impl Page<'_> {
    fn with(&self, name: &str, value: &str) -> Self {
        Self { headers: format!("{}{name}: {value}\r\n", self.headers), ..*self }
    }

    async fn call(&self, method: &str, request: &impl Message) -> Answer {
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0][..], &length, &message].concat();
        let (kind, body) = if self.as_text {
            ("application/grpc-web-text+proto", STANDARD.encode(frame).into_bytes())
        } else {
            ("application/grpc-web+proto", frame)
        };
        let head = format!(
            "POST /{method} HTTP/1.1\r\ncontent-type: {kind}\r\naccept: {kind}\r\nx-grpc-web: 1\r\n{}",
            self.headers
        );
        let (head, body) = http(self.shop, &head, &body).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
        Answer::read(&head, &if self.as_text { from_text(&body) } else { body })
    }

    async fn ask<R: Message + Default>(&self, method: &str, request: &impl Message) -> R {
        let answer = self.call(method, request).await;
        assert_eq!(answer.trailer("grpc-status"), Some("0"), "{method}: {:?}", answer.trailers);
        let [message] = answer.messages.as_slice() else { panic!("{} messages", answer.messages.len()) };
        R::decode(message.as_slice()).unwrap()
    }
}

impl Answer {
    /// An answer that is refused at once has its trailers among its headers.
    fn read(head: &str, mut body: &[u8]) -> Self {
        let mut answer = Self { messages: Vec::new(), trailers: lines(head).collect() };
        while let Some((frame, rest)) = body.split_first_chunk::<5>() {
            let [kind, length @ ..] = *frame;
            let (content, rest) = rest.split_at(u32::from_be_bytes(length) as usize);
            if kind & 0x80 == 0 {
                answer.messages.push(content.to_vec());
            } else {
                answer.trailers.extend(lines(str::from_utf8(content).unwrap()));
            }
            body = rest;
        }
        assert!(body.is_empty(), "a frame is cut short: {body:?}");
        answer
    }

    fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Why the call was refused.
    fn reason(&self) -> String {
        let details = self.trailer("grpc-status-details-bin").unwrap();
        let details = base64::engine::general_purpose::STANDARD_NO_PAD.decode(details.trim_end_matches('=')).unwrap();
        let status = proto::rpc::Status::decode(details.as_slice()).unwrap();
        ErrorInfo::decode(status.details[0].value.as_slice()).unwrap().reason
    }
}

fn lines(text: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
}

/// Text comes in pieces, each padded for itself.
fn from_text(body: &[u8]) -> Vec<u8> {
    body.chunks(4).flat_map(|piece| STANDARD.decode(piece).unwrap()).collect()
}

/// The head of an answer, in lower case but for what is in base64, and its body.
async fn http(shop: &TestShop, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let address = shop.address(Role::Gateway);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}host: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().replacen("HTTP", "http", 1);
    let body = &answer[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_vec() };
    (head, body)
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}

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
        let login = LoginRequest { address: "nobody@example.com".to_owned(), password: "x".to_owned(), ..Default::default() };
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
    let shop = TestShop::start().await;
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
    for name in ["authorization", "content-type", "idempotency-key", "consistency-token", "x-grpc-web", "grpc-timeout"] {
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
    let ours: Vec<_> = told.iter().filter_map(|name| name.strip_prefix("millrace.")).collect();
    let public =
        ["billing.v1.BillingService", "command.v1.CommandService", "order.v1.OrderService", "registration.v1.RegistrationService", "user.v1.UserService"];
    assert_eq!(ours, public);
}
