//! What each of them does, as a well-behaved client does it: until there is an answer, under one key.

use std::time::Duration;

use millrace::demo::{Customer, Person};
use prost_types::FieldMask;
use proto::billing::v1::AddPaymentMethodRequest;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::command::v1::{Receipt, State};
use proto::user::v1::user_service_client::UserServiceClient;
use proto::user::v1::{GetProfileRequest, Profile, UpdateProfileRequest};
use testkit::within;

use super::shop::Shop;
use super::stories::PATIENCE;
use crate::{may_still_happen, retry};

pub(super) async fn enter(shop: &Shop, name: &str) -> Customer {
    let address = format!("{name}@example.com");
    let person = Person { address: &address, password: "a password of some length", name, country: "DE" };
    retry(|| Customer::enter(shop.gateway(), &person)).await
}

/// A payment method, which the customer has once however often it was asked for.
pub(super) async fn add_card(customer: &Customer, token: &str) -> String {
    let (card_token, country) = (token.to_owned(), "DE".to_owned());
    let request = AddPaymentMethodRequest { card_token, country, label: "my card".to_owned() };
    let call = || async {
        let request = customer.request(request.clone(), Some(token))?;
        BillingServiceClient::new(customer.channel()).add_payment_method(request).await
    };
    retry(call).await.into_inner().payment_method.unwrap().payment_method_id
}

/// The order's id, once the order has been placed. Asking again under the same key, it must be the same each time.
pub(super) async fn place(customer: &Customer, key: &str, card: &str) -> String {
    let mut id = None;
    loop {
        let receipt = order(customer, key, card).await;
        let told = id_in(&receipt);
        assert_eq!(*id.get_or_insert_with(|| told.clone()), told, "one key came to two orders");
        if receipt.state() == State::Completed {
            return told;
        }
    }
}

pub(super) async fn order(customer: &Customer, key: &str, card: &str) -> Receipt {
    retry(|| customer.place(key, "teapot", 1, card)).await.0.receipt.unwrap()
}

/// Whether it comes in time or not, it ends.
pub(super) async fn cancel(customer: &Customer, order: &str) {
    let key = format!("cancel {order}");
    loop {
        match customer.cancel(&key, order).await {
            Ok(canceled) if canceled.receipt.as_ref().unwrap().state() == State::Accepted => {}
            Err(status) if may_still_happen(&status) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(_) | Err(_) => return,
        }
    }
}

pub(super) fn id_in(receipt: &Receipt) -> String {
    receipt.command.rsplit('/').next().unwrap().to_owned()
}

/// With the profile as it was: who asks again asks for the same.
pub(super) async fn update(person: &Customer, profile: &Profile) -> Receipt {
    let request = UpdateProfileRequest {
        profile: Some(Profile { locale: "fr".to_owned(), ..profile.clone() }),
        update_mask: Some(FieldMask { paths: vec!["locale".to_owned()] }),
    };
    let call = || async {
        let request = person.request(request.clone(), Some("locale"))?;
        UserServiceClient::new(person.channel()).update_profile(request).await
    };
    retry(call).await.into_inner().receipt.unwrap()
}

/// It appears a moment after the account.
pub(super) async fn profile(person: &Customer) -> Profile {
    let mut found = None;
    within(PATIENCE, "the profile appears", async || {
        let request = person.request(GetProfileRequest::default(), None).unwrap();
        let answer = UserServiceClient::new(person.channel()).get_profile(request).await;
        found = answer.ok().and_then(|answer| answer.into_inner().profile);
        found.is_some()
    })
    .await;
    found.unwrap()
}
