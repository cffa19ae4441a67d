//! What other services ask.

use ledger::{Reader, Result};
use proto::registration::v1::{ListSigningKeysRequest, ListSigningKeysResponse, SigningKey};

use crate::store::signing_key;

pub(crate) async fn list_signing_keys(cx: Reader, _: ListSigningKeysRequest) -> Result<ListSigningKeysResponse> {
    let keys = signing_key::all(cx.db()).await?;
    let public = |key: signing_key::Model| SigningKey { key_id: key.key_id, public_key: key.public_key.into() };
    Ok(ListSigningKeysResponse { keys: keys.into_iter().map(public).collect() })
}
