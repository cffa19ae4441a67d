//! What a session's owner gets.

use event::Id;
use identity::{Claims, Issuer};
use ledger::{Error, Loaded, Result, Tx};
use proto::registration::v1::Tokens;
use secrecy::ExposeSecret as _;

use crate::Settings;
use crate::domain::{Account, RefreshToken, Session};
use crate::store::signing_key;

/// An access token for the session, with the refresh token that gets the next one.
pub(crate) async fn issue(cx: &mut Tx, session: &Loaded<Session>, refresh: &RefreshToken) -> Result<Tokens> {
    let user: Id = session.user_id.parse().map_err(|_| Error::Failed("a session's user cannot be read".to_owned()))?;
    let account = cx.load::<Account>(user).await?;
    let settings = cx.service::<Settings>()?;
    let key = signing_key::in_use(cx.db(), cx.now(), settings.signing_key_ahead).await?;
    let claims = Claims {
        user,
        session: session.id(),
        roles: account.roles(),
        issued_at: cx.now(),
        expires_at: cx.now().plus(settings.access_token_life).min(session.expires_at()),
    };
    let access = Issuer::new(key).issue(&claims).map_err(|error| Error::Failed(error.to_string()))?;
    Ok(Tokens {
        access_token: access.expose_secret().to_owned(),
        access_expire_time: Some(claims.expires_at.into()),
        refresh_token: refresh.to_text().expose_secret().to_owned(),
        session_expire_time: Some(session.expires_at().into()),
    })
}
