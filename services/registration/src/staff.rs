//! Who is staff, as operators decide it.

use ledger::{Loaded, Result, Tx, operator};
use proto::registration::v1::{GrantStaffRequest, GrantStaffResponse, RevokeStaffRequest, RevokeStaffResponse};

use crate::domain::Account;
use crate::error::Error;

/// Makes a user one of the staff.
pub(crate) async fn grant(cx: &mut Tx, request: GrantStaffRequest) -> Result<GrantStaffResponse> {
    let mut account = account_for_operator(cx, &request.user_id).await?;
    let granted = account.grant_staff(request.user_id, operator::author(cx, &request.author));
    cx.append(&mut account, granted).await?;
    Ok(GrantStaffResponse { receipt: None })
}

/// The reverse.
pub(crate) async fn revoke(cx: &mut Tx, request: RevokeStaffRequest) -> Result<RevokeStaffResponse> {
    let mut account = account_for_operator(cx, &request.user_id).await?;
    let revoked = account.revoke_staff(request.user_id, operator::author(cx, &request.author));
    cx.append(&mut account, revoked).await?;
    Ok(RevokeStaffResponse { receipt: None })
}

/// Of those who may call what is for staff, operators are the ones that are no users.
async fn account_for_operator(cx: &mut Tx, user_id: &str) -> Result<Loaded<Account>> {
    if cx.caller().user.is_some() {
        return Err(Error::OperatorsOnly.into());
    }
    let user = user_id.parse().map_err(|_| Error::NoSuchUser)?;
    let account = cx.load::<Account>(user).await?;
    if account.exists() { Ok(account) } else { Err(Error::NoSuchUser.into()) }
}
