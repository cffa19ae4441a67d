//! The profile, and what is decided about it.

mod etag;
mod mask;

pub(crate) use mask::Mask;

use event::{Id, Micros};
use ledger::{Aggregate, At, Loaded, Rows, event_set};
use proto::registration::v1::RegistrationNew;
use proto::user::v1::{Profile, UserUpdated};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::store::profile;

/// A person, as others see them. Its id is the account's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct User {
    facts: Facts,
    created_at: i64,
    updated_at: i64,
}

/// What a person can change of their profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) display_name: String,
    pub(crate) country: String,
    pub(crate) locale: String,
}

event_set!(
    pub(crate) enum Event {
        UserUpdated,
    }
);

/// The language of somebody who names none.
const DEFAULT_LOCALE: &str = "en";

/// The profile that appears with an account.
pub(crate) fn appear(user: &Loaded<User>, account: RegistrationNew) -> Option<Event> {
    let RegistrationNew { display_name, country, locale, .. } = account;
    (!user.exists()).then(|| Facts { display_name, country, locale }.event(user.id()))
}

/// The profile with the fields of `mask` taken from `new`. Nothing happens if it stays what it is.
pub(crate) fn update(user: &Loaded<User>, new: &Profile, mask: Mask) -> Result<Option<Event>, Error> {
    let current = user.etag(user.revision());
    if !new.etag.is_empty() && new.etag != current {
        return Err(Error::EtagMismatch { current });
    }
    let facts = user.facts.with(new, mask)?;
    Ok((facts != user.facts).then(|| facts.event(user.id())))
}

impl User {
    /// The profile as it stands at this revision.
    pub(crate) fn view(&self, id: Id, revision: i64) -> Profile {
        let Facts { display_name, country, locale } = self.facts.clone();
        Profile {
            user_id: id.to_string(),
            display_name,
            country,
            locale,
            etag: self.etag(revision),
            create_time: Some(Micros(self.created_at).into()),
            update_time: Some(Micros(self.updated_at).into()),
        }
    }

    fn etag(&self, revision: i64) -> String {
        etag::of(revision, Micros(self.updated_at))
    }
}

impl Facts {
    fn with(&self, new: &Profile, mask: Mask) -> Result<Self, Error> {
        let mut facts = self.clone();
        for (taken, field, value, name) in [
            (mask.display_name, &mut facts.display_name, &new.display_name, "profile.display_name"),
            (mask.country, &mut facts.country, &new.country, "profile.country"),
        ] {
            if taken && value.trim().is_empty() {
                return Err(Error::Empty(name));
            }
            if taken {
                value.clone_into(field);
            }
        }
        if mask.locale {
            facts.locale = if new.locale.is_empty() { DEFAULT_LOCALE.to_owned() } else { new.locale.clone() };
        }
        Ok(facts)
    }

    /// Carries all fields, so that one event is enough to know the person.
    fn event(self, id: Id) -> Event {
        let Self { display_name, country, locale } = self;
        UserUpdated { user_id: id.to_string(), display_name, country, locale }.into()
    }
}

impl Aggregate for User {
    const KIND: &'static str = "user";
    const FOLD: i64 = 1;
    type Event = Event;

    fn apply(&mut self, Event::UserUpdated(updated): &Event, at: &At) {
        let UserUpdated { display_name, country, locale, .. } = updated.clone();
        self.facts = Facts { display_name, country, locale };
        self.updated_at = at.time.0;
        if at.revision == 1 {
            self.created_at = at.time.0;
        }
    }

    fn project(&self, at: &At, rows: &mut Rows) {
        profile::put(rows, self.view(at.id, at.revision), Micros(self.created_at), Micros(self.updated_at));
    }
}
