use ledger::{Reader, Result, Tx};
use proto::billing::v1::{self, AddPaymentMethodRequest, AddPaymentMethodResponse, PaymentMethodAdded};

use crate::card_token::CardToken;
use crate::domain::PaymentMethod;
use crate::error::Error;
use crate::settings::Billing;
use crate::store::payment_method::{self, Model};

/// What the provider says of a card.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known(bool);

/// Asks the provider, before the lane and outside any transaction, because it may take its time.
pub(crate) async fn look_up(cx: Reader, request: AddPaymentMethodRequest) -> Result<Known> {
    let billing = cx.service::<Billing>()?;
    let card = CardToken::new(request.card_token);
    Ok(Known(billing.in_time(billing.provider.knows(&card)).await?))
}

pub(crate) async fn add_payment_method(
    cx: &mut Tx,
    (request, Known(known)): (AddPaymentMethodRequest, Known),
) -> Result<AddPaymentMethodResponse> {
    if !known {
        return Err(Error::UnknownCardToken.into());
    }
    let AddPaymentMethodRequest { card_token, country, label } = request;
    let (user_id, now) = (cx.user()?.to_string(), cx.now());
    let mut method = cx.load::<PaymentMethod>(cx.command_id()?).await?;
    let payment_method_id = method.id().to_string();
    let added = PaymentMethodAdded {
        payment_method_id: payment_method_id.clone(),
        user_id: user_id.clone(),
        country: country.clone(),
        label: label.clone(),
    };
    cx.append(&mut method, [added.into()]).await?;
    let card_token = CardToken::new(card_token);
    let row = Model { payment_method_id, user_id, country, label, card_token, added_at: now.0 };
    let payment_method = Some(v1::PaymentMethod::from(&row));
    payment_method::add(cx.write(), row).await?;
    Ok(AddPaymentMethodResponse { receipt: None, payment_method })
}
