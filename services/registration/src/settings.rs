use std::time::Duration;

use crate::passwords::Passwords;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// How long things live, and how passwords are hashed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An access token: 10 minutes. So long may a gateway that has not heard of a logout let somebody in.
    pub access_token_life: Duration,
    /// A session, however often it is refreshed: 30 days.
    pub session_life: Duration,
    /// After so long a new signing key is drawn: 30 days.
    pub signing_key_life: Duration,
    /// A new key is published so long before it signs: 10 minutes, in which every gateway has heard of it.
    pub signing_key_ahead: Duration,
    pub passwords: Passwords,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_token_life: 10 * MINUTE,
            session_life: 30 * DAY,
            signing_key_life: 30 * DAY,
            signing_key_ahead: 10 * MINUTE,
            passwords: Passwords::default(),
        }
    }
}
