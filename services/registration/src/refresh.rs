use ledger::{Result, Tx};
use proto::registration::v1::logout_success::Cause;
use proto::registration::v1::{RefreshRequest, RefreshResponse};

use crate::domain::{Judgement, RefreshToken, Session};
use crate::error::Error;
use crate::logout::end;
use crate::store::refresh_token;
use crate::tokens;

/// Gives new tokens for a refresh token, which is replaced; or ends the session if the token was replaced long ago.
pub(crate) async fn refresh(cx: &mut Tx, request: RefreshRequest) -> Result<RefreshResponse> {
    let used: RefreshToken = request.refresh_token.parse()?;
    // The session's lock is that of its tokens, too.
    let mut session = cx.load::<Session>(used.session).await?;
    let family = refresh_token::find(cx.db(), used.session).await?;
    let Some(family) = family.filter(|_| session.is_open(cx.now())) else {
        return Err(Error::InvalidRefreshToken.into());
    };
    let judgement = family.judge(&used);
    if judgement == Judgement::Reused {
        end(cx, &mut session, Cause::ReusedToken).await?;
        return Err(cx.refuse_and_keep(Error::InvalidRefreshToken));
    }
    let next = family.next(judgement, &used, cx.rng().bytes());
    let (token, family) = next.ok_or(Error::InvalidRefreshToken)?;
    refresh_token::put(cx.write(), used.session, &family).await?;
    let tokens = tokens::issue(cx, &session, &token).await?;
    Ok(RefreshResponse { receipt: None, tokens: Some(tokens) })
}
