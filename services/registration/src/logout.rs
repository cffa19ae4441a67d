use ledger::{Loaded, Result, Tx};
use proto::registration::v1::logout_success::Cause;
use proto::registration::v1::{LogoutRequest, LogoutResponse};

use crate::domain::Session;
use crate::error::Error;
use crate::store::refresh_token;

/// Ends the caller's session. One that has ended is answered alike.
pub(crate) async fn logout(cx: &mut Tx, _: LogoutRequest) -> Result<LogoutResponse> {
    let id = cx.caller().session.ok_or(Error::NoSession)?;
    let mut session = cx.load::<Session>(id).await?;
    end(cx, &mut session, Cause::Logout).await?;
    Ok(LogoutResponse { receipt: None })
}

/// Ends a session, and forgets its refresh tokens.
pub(crate) async fn end(cx: &mut Tx, session: &mut Loaded<Session>, cause: Cause) -> Result<()> {
    let owner = if session.exists() { session.user_id.clone() } else { cx.user()?.to_string() };
    let ended = session.end(session.id(), owner, cause, cx.now());
    if ended.is_some() {
        refresh_token::delete(cx.write(), session.id()).await?;
    }
    cx.append(session, ended).await
}
