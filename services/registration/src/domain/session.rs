use event::{Id, Micros};
use ledger::{Aggregate, At, event_set};
use proto::registration::v1::logout_success::Cause;
use proto::registration::v1::{LoginSuccess, LogoutSuccess};
use serde::{Deserialize, Serialize};

/// A session: from a login until it is ended or has expired.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) user_id: String,
    expires_at: i64,
    ended_at: Option<i64>,
}

event_set!(
    pub(crate) enum Event {
        LoginSuccess,
        LogoutSuccess,
    }
);

impl Session {
    /// When it ends, however often it is refreshed.
    pub(crate) const fn expires_at(&self) -> Micros {
        Micros(self.expires_at)
    }

    /// It has begun, was not ended, and has not expired.
    pub(crate) fn is_open(&self, now: Micros) -> bool {
        self.ended_at.is_none() && now < self.expires_at()
    }

    /// Begins it, unless it has begun: a login that is delivered again begins no second one.
    pub(crate) fn begin(&self, id: Id, user: Id, expires_at: Micros) -> Option<Event> {
        let begun = LoginSuccess { session_id: id.to_string(), user_id: user.to_string(), expires_at_us: expires_at.0 };
        self.user_id.is_empty().then(|| begun.into())
    }

    /// Ends it, unless it was ended: that is final, and once is enough. A session of which nothing is known here can be ended, too, for its
    /// access token may be good elsewhere.
    pub(crate) fn end(&self, id: Id, user_id: String, cause: Cause, now: Micros) -> Option<Event> {
        let ended = LogoutSuccess { session_id: id.to_string(), user_id, cause: cause.into(), ended_at_us: now.0 };
        self.ended_at.is_none().then(|| ended.into())
    }
}

impl Aggregate for Session {
    const KIND: &'static str = "session";
    const FOLD: i64 = 1;
    type Event = Event;

    fn apply(&mut self, event: &Event, _: &At) {
        match event {
            Event::LoginSuccess(login) => {
                login.user_id.clone_into(&mut self.user_id);
                self.expires_at = login.expires_at_us;
            }
            Event::LogoutSuccess(logout) => self.ended_at = Some(logout.ended_at_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000);
    const LATER: Micros = Micros(2_000);

    fn id() -> Id {
        Id::timed(1, [1; 10])
    }

    fn after(events: impl IntoIterator<Item = Event>) -> Session {
        let mut session = Session::default();
        for (revision, event) in (1..).zip(events) {
            session.apply(&event, &At { id: id(), revision, time: NOW });
        }
        session
    }

    fn begun() -> Event {
        Session::default().begin(id(), id(), LATER).unwrap()
    }

    fn ended(session: &Session) -> Option<Event> {
        session.end(id(), id().to_string(), Cause::Logout, NOW)
    }

    #[test]
    fn a_session_is_open_from_its_login_until_it_expires() {
        assert!(!Session::default().is_open(NOW));
        assert!(after([begun()]).is_open(NOW));
        assert!(!after([begun()]).is_open(LATER));
    }

    #[test]
    fn a_session_begins_once() {
        assert_eq!(after([begun()]).begin(id(), id(), LATER), None);
    }

    #[test]
    fn a_session_ends_once_and_for_all() {
        let end = ended(&after([begun()])).unwrap();
        let session = after([begun(), end]);
        assert!(!session.is_open(NOW));
        assert_eq!(ended(&session), None);
    }

    #[test]
    fn a_session_that_is_not_known_can_be_ended() {
        let end = ended(&Session::default()).unwrap();
        assert_eq!(ended(&after([end])), None);
    }
}
