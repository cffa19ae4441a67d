use event::Id;
use ledger::{Error, Fired, Result, Timer, Tx};
use prost::Message;
use proto::registration::v1::{EnsureSigningKeyRequest, EnsureSigningKeyResponse, SigningKeyPublished};

use crate::Settings;
use crate::domain::SigningKey;
use crate::store::signing_key;

/// The key has lived long enough, and the next one is drawn.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Renewal {}

impl Timer for Renewal {
    const NAME: &'static str = "renewal";
}

/// When the service starts: a new database has no key yet.
pub(crate) async fn ensure_signing_key(cx: &mut Tx, _: EnsureSigningKeyRequest) -> Result<EnsureSigningKeyResponse> {
    let key_id = young_key(cx, cx.command_id()?).await?;
    Ok(EnsureSigningKeyResponse { receipt: None, key_id })
}

/// When the newest key has become old while the service runs.
pub(crate) async fn renew(cx: &mut Tx, _: Fired<Renewal>) -> Result<()> {
    young_key(cx, cx.new_id()).await.map(drop)
}

/// Draws a key, as the aggregate `id`, unless the newest one is young enough. Two instances that start together may both draw one, which
/// does no harm: all that were published verify, and all instances sign with the same.
async fn young_key(cx: &mut Tx, id: Id) -> Result<String> {
    let life = cx.service::<Settings>()?.signing_key_life;
    if let Some(newest) = signing_key::newest(cx.db()).await?
        && cx.now() < newest.drawn_at().plus(life)
    {
        return Ok(newest.key_id);
    }
    let seed = zeroize::Zeroizing::new(cx.rng().bytes());
    let drawn = identity::SigningKey::from_seed(&seed).map_err(|error| Error::Failed(error.to_string()))?;
    let (key_id, public_key) = (drawn.key_id(), drawn.public_key());
    let mut key = cx.load::<SigningKey>(id).await?;
    let now = cx.now();
    signing_key::insert(cx.write(), &drawn, now).await?;
    signing_key::forget_old(cx.write(), now, life).await?;
    let published = SigningKeyPublished { key_id: key_id.clone(), public_key: public_key.to_vec().into() };
    cx.append(&mut key, [published.into()]).await?;
    cx.timer(&key, now.plus(life), &Renewal {})?;
    Ok(key_id)
}
