//! `millrace user`, as it is typed and answered.

use clap::{Args, Subcommand};
use millrace::Role;

use crate::operate::{Author, Reach, say};

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Gives a user the role `staff`, from their next login or refresh on: then they may call what operators may, through the gateway.
    GrantStaff(Who),
    /// Takes the role `staff` from a user. The access token that they have is good until it ends, ten minutes later at most.
    RevokeStaff(Who),
}

#[derive(Args, Debug)]
pub(crate) struct Who {
    /// The user's id, as Register and Login answer it.
    user: String,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn user(action: &User) -> anyhow::Result<()> {
    let (User::GrantStaff(who) | User::RevokeStaff(who)) = action;
    let Who { user, author, reach } = who;
    let operator = reach.operator(&[Role::Registration], author.name()?)?;
    if matches!(action, User::GrantStaff(_)) {
        operator.grant_staff(user).await?;
        return say(&format!("{user} is staff from the next login or refresh on"));
    }
    operator.revoke_staff(user).await?;
    say(&format!("{user} is no staff any more, once their access token has ended"))
}
