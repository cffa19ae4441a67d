use ledger::{Error, Result, Tx};
use proto::registration::v1::{EnsureSigningKeyRequest, EnsureSigningKeyResponse, SigningKeyPublished};

use crate::Settings;
use crate::domain::SigningKey;
use crate::store::signing_key;

/// Draws a key unless the newest one is young enough. Two instances that start together may both draw one, which does no harm: all that
/// were published verify, and all instances sign with the same.
pub(crate) async fn ensure_signing_key(cx: &mut Tx, _: EnsureSigningKeyRequest) -> Result<EnsureSigningKeyResponse> {
    let life = cx.service::<Settings>()?.signing_key_life;
    if let Some(newest) = signing_key::newest(cx.db()).await?
        && cx.now() < newest.drawn_at().plus(life)
    {
        return Ok(EnsureSigningKeyResponse { receipt: None, key_id: newest.key_id });
    }
    let seed = zeroize::Zeroizing::new(cx.rng().bytes());
    let drawn = identity::SigningKey::from_seed(&seed).map_err(|error| Error::Failed(error.to_string()))?;
    let (key_id, public_key) = (drawn.key_id(), drawn.public_key());
    let mut key = cx.load::<SigningKey>(cx.command_id()?).await?;
    let now = cx.now();
    signing_key::insert(cx.write(), &drawn, now).await?;
    signing_key::forget_old(cx.write(), now, life).await?;
    let published = SigningKeyPublished { key_id: key_id.clone(), public_key: public_key.to_vec().into() };
    cx.append(&mut key, [published.into()]).await?;
    Ok(EnsureSigningKeyResponse { receipt: None, key_id })
}
