use ledger::{Reader, Result, Tx};
use proto::registration::v1::{RegisterRequest, RegisterResponse, RegistrationNew};
use secrecy::SecretString;

use crate::Settings;
use crate::domain::{Account, normal_address};
use crate::error::{Error, overtaken};
use crate::store::credential::{self, Credential};

/// The language of somebody who names none.
const DEFAULT_LOCALE: &str = "en";

/// What the slow step found. Either way it has hashed once.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Free { hash: SecretString },
    Taken { credential: Credential, same_password: bool },
}

pub(crate) async fn prepare(cx: Reader, request: RegisterRequest) -> Result<Found> {
    let passwords = &cx.service::<Settings>()?.passwords;
    let password = SecretString::from(request.password);
    match credential::find(cx.db(), &normal_address(&request.address)).await? {
        None => Ok(Found::Free { hash: passwords.hash(password, cx.chance().bytes()).await? }),
        Some(credential) => {
            let same_password = passwords.matches(password, credential.hash.clone()).await?;
            Ok(Found::Taken { credential, same_password })
        }
    }
}

/// Opens an account, or says again what was said when it was opened with the same address and password.
pub(crate) async fn register(cx: &mut Tx, (request, found): (RegisterRequest, Found)) -> Result<RegisterResponse> {
    let address = normal_address(&request.address);
    let now = credential::find(cx.db(), &address).await?;
    match (found, now) {
        (Found::Free { hash }, None) => open(cx, request, address, hash).await,
        (Found::Taken { credential, same_password }, Some(now)) if credential.is_still(&now) => {
            if same_password {
                Ok(answer(now.account_id))
            } else {
                Err(Error::AddressTaken.into())
            }
        }
        _ => Err(overtaken()),
    }
}

async fn open(cx: &mut Tx, request: RegisterRequest, address: String, hash: SecretString) -> Result<RegisterResponse> {
    let mut account = cx.load::<Account>(cx.command_id()?).await?;
    let user_id = account.id().to_string();
    credential::insert(cx.write(), &address, &user_id, hash).await?;
    let locale = if request.locale.is_empty() { DEFAULT_LOCALE.to_owned() } else { request.locale };
    let RegisterRequest { display_name, country, .. } = request;
    let opened = RegistrationNew { user_id: user_id.clone(), address, display_name, country, locale };
    cx.append(&mut account, [opened.into()]).await?;
    Ok(answer(user_id))
}

const fn answer(user_id: String) -> RegisterResponse {
    RegisterResponse { receipt: None, user_id }
}
