use ledger::{Reader, Result, Tx};
use proto::registration::v1::{LoginRequest, LoginResponse};
use secrecy::SecretString;

use crate::Settings;
use crate::domain::{Family, RefreshToken, Session, normal_address};
use crate::error::{Error, overtaken};
use crate::store::credential::{self, Credential};
use crate::store::refresh_token;
use crate::tokens;

/// What the slow step found. Known or not, right or wrong, it has hashed once.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Wrong,
    Right {
        credential: Credential,
        /// The password's hash as it would be made now, if the one that is kept is weaker.
        stronger: Option<SecretString>,
    },
}

pub(crate) async fn prepare(cx: Reader, request: LoginRequest) -> Result<Found> {
    let passwords = &cx.service::<Settings>()?.passwords;
    let (password, salt) = (SecretString::from(request.password), cx.chance().bytes());
    let Some(credential) = credential::find(cx.db(), &normal_address(&request.address)).await? else {
        // For nothing but the time that it takes: an address that is not known must not be answered sooner.
        passwords.hash(password, salt).await?;
        return Ok(Found::Wrong);
    };
    if !passwords.matches(password.clone(), credential.hash.clone()).await? {
        return Ok(Found::Wrong);
    }
    let is_weak = passwords.is_weak(&credential.hash);
    let stronger = if is_weak { Some(passwords.hash(password, salt).await?) } else { None };
    Ok(Found::Right { credential, stronger })
}

/// Begins a session.
pub(crate) async fn login(cx: &mut Tx, (request, found): (LoginRequest, Found)) -> Result<LoginResponse> {
    let Found::Right { credential, stronger } = found else { return Err(Error::WrongCredentials.into()) };
    let now = credential::find(cx.db(), &normal_address(&request.address)).await?;
    let credential = now.filter(|now| credential.is_still(now)).ok_or_else(overtaken)?;
    let user = credential.account()?;

    let mut session = cx.load::<Session>(cx.command_id()?).await?;
    let expires_at = cx.now().plus(cx.service::<Settings>()?.session_life);
    let begun = session.begin(session.id(), user, expires_at);
    cx.append(&mut session, begun).await?;
    if let Some(stronger) = stronger {
        credential::strengthen(cx.write(), &credential, stronger).await?;
    }
    let token = RefreshToken::first(session.id(), cx.rng().bytes(), cx.rng().bytes());
    refresh_token::put(cx.write(), session.id(), &Family::of_login(&token)).await?;
    let tokens = tokens::issue(cx, &session, &token).await?;
    let (user_id, session_id) = (user.to_string(), session.id().to_string());
    Ok(LoginResponse { receipt: None, user_id, session_id, tokens: Some(tokens) })
}
