//! What people read.

use event::Id;
use ledger::{Reader, Result};
use proto::user::v1::{GetProfileRequest, GetProfileResponse};

use crate::error::Error;
use crate::store::profile;

pub(crate) async fn get_profile(cx: Reader, request: GetProfileRequest) -> Result<GetProfileResponse> {
    let id = own("user_id", &request.user_id, cx.user()?)?;
    let profile = profile::find(cx.db(), id).await?;
    Ok(GetProfileResponse { profile: Some(profile.ok_or(Error::NotHere)?) })
}

/// The user in a field of a request, who must be the caller. Empty means the caller.
pub(crate) fn own(field: &'static str, text: &str, caller: Id) -> Result<Id, Error> {
    if text.is_empty() {
        return Ok(caller);
    }
    let expected = "an id: 22 characters of base64url";
    let id: Id = text.parse().map_err(|_| Error::Malformed { field, expected })?;
    if id == caller { Ok(id) } else { Err(Error::NotYours) }
}
