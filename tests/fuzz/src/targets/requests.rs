//! Requests of clients, as the gateway validates them: a byte for the method, and the request. What the gateway has read, by descriptors
//! alone, is what the owner reads with its generated code; two readings of one request would be two requests.

use bytes::Bytes;
use event::{Access, Method, Schema};
use gateway::reading::{Refusal, Rules};
use prost_reflect::{DynamicMessage, Value};
use proto::{Message, Name, billing, command, money, operator, order, registration, user};

use crate::Target;
use crate::targets::id;

pub(crate) const TARGET: Target = Target { name: "requests", seeds, feed, short: 5_000 };

const VIOLATIONS_MAX: usize = 32;

/// The schema, and what the gateway checks.
struct Known {
    methods: Vec<(Method, Read)>,
    rules: Rules,
}

thread_local! {
    static KNOWN: Known = {
        let schema = Schema::embedded().unwrap();
        let methods = public(&schema).into_iter().map(|method| (method.clone(), reader(&method))).collect();
        Known { methods, rules: Rules::compile(&schema).unwrap() }
    };
}

/// The methods that can be called from outside.
pub(super) fn public(schema: &Schema) -> Vec<Method> {
    schema.methods().filter(|method| method.access != Access::Internal).cloned().collect()
}

fn feed(input: &[u8]) {
    let Some((number, body)) = input.split_first() else { return };
    KNOWN.with(|known| {
        let (method, read_by_owner) = &known.methods[usize::from(*number) % known.methods.len()];
        let read = known.rules.check(&method.input, Bytes::copy_from_slice(body));
        let as_owner = read_by_owner(body);
        match read {
            Ok(message) => {
                assert_eq!(rewritten(*read_by_owner, &message), as_owner, "{}: not as its owner reads it", method.name);
                is_storable(&message);
            }
            Err(Refusal::InvalidFields(violations)) => {
                assert!(as_owner.is_some(), "{}: the owner cannot read it", method.name);
                assert!((1..=VIOLATIONS_MAX).contains(&violations.len()));
                assert!(violations.iter().all(|one| !one.field.is_empty() && one.description.starts_with(['m', 'i'])));
            }
            Err(Refusal::MalformedMessage) => assert!(as_owner.is_none(), "{}: the owner can read it", method.name),
            Err(other) => panic!("{other}"),
        }
    });
}

/// A database takes every text.
fn is_storable(message: &DynamicMessage) {
    for (_, value) in message.fields() {
        let values = if let Value::List(values) = value { values.as_slice() } else { std::slice::from_ref(value) };
        for value in values {
            match value {
                Value::String(text) => assert!(!text.contains('\0')),
                Value::Message(inner) => is_storable(inner),
                _ => {}
            }
        }
    }
}

/// What the gateway has read, as the owner's code would write it.
fn rewritten(read: Read, message: &DynamicMessage) -> Option<Vec<u8>> {
    read(&message.encode_to_vec())
}

/// As the owner's code writes what it has read.
type Read = fn(&[u8]) -> Option<Vec<u8>>;

fn read<M: Message + Default>(body: &[u8]) -> Option<Vec<u8>> {
    M::decode(body).ok().map(|message| message.encode_to_vec())
}

macro_rules! readers {
    ($($message:ty),* $(,)?) => {
        [$((<$message as Name>::full_name(), read::<$message> as Read)),*]
    };
}

fn reader(method: &Method) -> Read {
    let readers = readers![
        billing::v1::AddPaymentMethodRequest,
        billing::v1::ListPaymentMethodsRequest,
        billing::v1::GetPaymentRequest,
        command::v1::GetCommandRequest,
        command::v1::WaitCommandRequest,
        operator::v1::GetStandingRequest,
        operator::v1::RaiseEpochRequest,
        operator::v1::CompareSubscriptionRequest,
        operator::v1::HandOverSubscriptionRequest,
        operator::v1::RebuildProjectionRequest,
        operator::v1::ListParkedRequest,
        operator::v1::ShowParkedRequest,
        operator::v1::RedriveRequest,
        operator::v1::DropRequest,
        order::v1::PlaceOrderRequest,
        order::v1::CancelOrderRequest,
        order::v1::GetOrderRequest,
        order::v1::ListOrdersRequest,
        order::v1::GetOrderHistoryRequest,
        order::v1::WatchOrderRequest,
        registration::v1::RegisterRequest,
        registration::v1::LoginRequest,
        registration::v1::RefreshRequest,
        registration::v1::LogoutRequest,
        registration::v1::GrantStaffRequest,
        registration::v1::RevokeStaffRequest,
        user::v1::GetProfileRequest,
        user::v1::UpdateProfileRequest,
    ];
    let name = method.input.full_name();
    let known = readers.into_iter().find(|(known, _)| known == name);
    known.unwrap_or_else(|| panic!("{name} is not among the requests that are fed")).1
}

/// Of each method an empty request, and some good ones.
fn seeds() -> Vec<Vec<u8>> {
    let methods = public(&Schema::embedded().unwrap());
    let numbered = |(number, method): (usize, &Method)| {
        [&[u8::try_from(number).unwrap()], request(&method.name).as_slice()].concat()
    };
    methods.iter().enumerate().map(numbered).collect()
}

/// A good request, or an empty one.
pub(super) fn request(method: &str) -> Vec<u8> {
    let id = || id(1).to_string();
    match method.rsplit('/').next() {
        Some("PlaceOrder") => {
            let line = order::v1::place_order_request::Line { sku: "teapot".to_owned(), quantity: 2 };
            let expected_total = Some(money::v1::Money { currency: "EUR".to_owned(), minor: 4_998 });
            let payment_method_id = id();
            order::v1::PlaceOrderRequest { lines: vec![line], payment_method_id, expected_total }.encode_to_vec()
        }
        Some("CancelOrder") => order::v1::CancelOrderRequest { order_id: id() }.encode_to_vec(),
        Some("GetOrder") => order::v1::GetOrderRequest { order_id: id(), ..Default::default() }.encode_to_vec(),
        Some("WatchOrder") => order::v1::WatchOrderRequest { order_id: id(), ..Default::default() }.encode_to_vec(),
        Some("Register") => {
            let request = registration::v1::RegisterRequest {
                address: "ada@example.org".to_owned(),
                password: "correct horse".to_owned(),
                display_name: "Ada".to_owned(),
                country: "GB".to_owned(),
                locale: "en".to_owned(),
            };
            request.encode_to_vec()
        }
        Some("UpdateProfile") => {
            let update_mask = Some(prost_types::FieldMask { paths: vec!["locale".to_owned()] });
            let profile = Some(user::v1::Profile { locale: "en".to_owned(), ..Default::default() });
            user::v1::UpdateProfileRequest { profile, update_mask }.encode_to_vec()
        }
        _ => Vec::new(),
    }
}
