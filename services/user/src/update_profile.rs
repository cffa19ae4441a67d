use event::{Event as _, Id, Key};
use ledger::{Result, Tx};
use proto::registration::v1::RegistrationNew;
use proto::user::v1::{UpdateProfileRequest, UpdateProfileResponse};

use crate::domain::{Mask, User, update};
use crate::error::Error;
use crate::queries::own;

/// Changes fields of the caller's profile. One that has not appeared yet is waited for.
pub(crate) async fn update_profile(cx: &mut Tx, request: UpdateProfileRequest) -> Result<UpdateProfileResponse> {
    let profile = request.profile.unwrap_or_default();
    let id: Id = own("profile.user_id", &profile.user_id, cx.user()?)?;
    let mask = Mask::read(request.update_mask.as_ref(), &profile)?;
    let mut user = cx.load::<User>(id).await?;
    let appeared = user.exists().then_some(());
    cx.wait_for(&Key::new(RegistrationNew::AGGREGATE, id), appeared)?.ok_or(Error::NotHere)?;
    let updated = update(&user, &profile, mask)?;
    cx.append(&mut user, updated).await?;
    Ok(UpdateProfileResponse { receipt: None, profile: Some(user.view(id, user.revision())) })
}
