//! Who is staff.

use proto::registration::v1::{GrantStaffRequest, GrantStaffResponse, RevokeStaffRequest, RevokeStaffResponse};

use super::{CallError, Operator};
use crate::Role;

impl Operator {
    /// Gives a user the role `staff`.
    pub async fn grant_staff(&self, user: &str) -> Result<(), CallError> {
        let request = GrantStaffRequest { user_id: user.to_owned(), author: self.author().to_owned() };
        self.tell::<_, GrantStaffResponse>(Role::Registration, &request).await.map(drop)
    }

    /// Takes it from them.
    pub async fn revoke_staff(&self, user: &str) -> Result<(), CallError> {
        let request = RevokeStaffRequest { user_id: user.to_owned(), author: self.author().to_owned() };
        self.tell::<_, RevokeStaffResponse>(Role::Registration, &request).await.map(drop)
    }
}
