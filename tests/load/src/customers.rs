//! Customers of the shop, each from an address of their own, so that no limit for one address stands in the way.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use proto::billing::v1::AddPaymentMethodRequest;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::registration::v1::registration_service_client::RegistrationServiceClient;
use proto::registration::v1::{LoginRequest, RegisterRequest};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// So many connections are shared by all callers.
const CONNECTIONS: usize = 8;
const PASSWORD: &str = "a password of some length";

/// Somebody who can place orders.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) channel: Channel,
    pub(crate) authorization: AsciiMetadataValue,
    pub(crate) payment_method_id: String,
}

/// Registers customers, logs them in, and gives each a way to pay if billing is there. A password takes its time, so two at once.
pub(crate) async fn enter(port: u16, count: usize, with_billing: bool) -> Result<Vec<Customer>> {
    let channels = channels(port)?;
    let mut customers = Vec::with_capacity(count);
    for numbers in (0..count).collect::<Vec<_>>().chunks(2) {
        let entering = numbers.iter().map(|number| one(channels[number % CONNECTIONS].clone(), *number, with_billing));
        customers.extend(try_join_all(entering).await?);
    }
    Ok(customers)
}

/// Those of the floor, whose gateway knows them by convention.
pub(crate) fn of_floor(port: u16, count: usize) -> Result<Vec<Customer>> {
    let channels = channels(port)?;
    let customer = |number: usize| {
        let authorization = format!("Bearer {}", crate::floor::token(number)).parse()?;
        let payment_method_id = "A".repeat(22);
        Ok(Customer { channel: channels[number % CONNECTIONS].clone(), authorization, payment_method_id })
    };
    (0..count).map(customer).collect()
}

fn channels(port: u16) -> Result<Vec<Channel>> {
    let channel = |number: usize| -> Result<Channel> {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1)?);
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
        Ok(endpoint.local_address(Some(IpAddr::V4(from))).tcp_nodelay(true).connect_lazy())
    };
    (0..CONNECTIONS).map(channel).collect()
}

async fn one(channel: Channel, number: usize, with_billing: bool) -> Result<Customer> {
    let address = format!("customer-{number}@example.com");
    let mut registration = RegistrationServiceClient::new(channel.clone());
    let register = RegisterRequest {
        address: address.clone(),
        password: PASSWORD.to_owned(),
        display_name: "Customer".to_owned(),
        country: "DE".to_owned(),
        locale: "en".to_owned(),
    };
    patiently(async || registration.clone().register(register.clone()).await).await.context("cannot register")?;
    let login = LoginRequest { address, password: PASSWORD.to_owned(), device_name: "load".to_owned() };
    let login = registration.login(login).await.context("cannot log in")?.into_inner();
    let authorization: AsciiMetadataValue =
        format!("Bearer {}", login.tokens.context("no tokens")?.access_token).parse()?;
    let mut customer = Customer { channel, authorization, payment_method_id: "A".repeat(22) };
    if with_billing {
        customer.payment_method_id = add_card(&customer).await.context("cannot add a card")?;
    }
    Ok(customer)
}

async fn add_card(customer: &Customer) -> Result<String> {
    let request = || {
        let (card_token, country) = ("tok_approved".to_owned(), "DE".to_owned());
        let request = AddPaymentMethodRequest { card_token, country, label: "my card".to_owned() };
        let mut request = Request::new(request);
        request.metadata_mut().insert("authorization", customer.authorization.clone());
        request
    };
    let billing = BillingServiceClient::new(customer.channel.clone());
    let answer = patiently(async || billing.clone().add_payment_method(request()).await).await?;
    Ok(answer.into_inner().payment_method.context("no payment method")?.payment_method_id)
}

/// Services may still be on their way up.
async fn patiently<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    for _ in 0..50 {
        match call().await {
            Err(status) if status.code() == tonic::Code::Unavailable => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
    call().await
}
