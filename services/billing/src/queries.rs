//! What customers can ask of their own payment methods and payments.

use ledger::{Reader, Result};
use proto::billing::v1::{
    self, GetPaymentRequest, GetPaymentResponse, ListPaymentMethodsRequest, ListPaymentMethodsResponse,
};

use crate::error::Error;
use crate::store::{payment, payment_method};

pub(crate) async fn list_payment_methods(
    cx: Reader,
    _: ListPaymentMethodsRequest,
) -> Result<ListPaymentMethodsResponse> {
    let rows = payment_method::list(cx.db(), cx.user()?).await?;
    Ok(ListPaymentMethodsResponse { payment_methods: rows.iter().map(v1::PaymentMethod::from).collect() })
}

pub(crate) async fn get_payment(cx: Reader, request: GetPaymentRequest) -> Result<GetPaymentResponse> {
    let order_id = request.order_id.parse().map_err(|_| Error::InvalidId { field: "order_id" })?;
    let payment = payment::find(cx.db(), cx.user()?, order_id).await?.ok_or(Error::NotYours)?;
    Ok(GetPaymentResponse { payment: Some(payment) })
}
