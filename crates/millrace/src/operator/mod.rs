//! `millrace parked` and `millrace commands`: what was set aside, in an operator's hands. Services are called directly, with an operator's
//! seal, so that it works while the gateway and the broker are away.

mod call;
mod maintain;
mod reach;
mod staff;
mod told;

use proto::operator::v1::{
    DropRequest, DropResponse, ListParkedRequest, ListParkedResponse, Parked, ParkedKind, ParkedState, RedriveRequest,
    RedriveResponse, ShowParkedRequest, ShowParkedResponse,
};

use crate::Role;

pub use call::{CallError, Operator};
pub use reach::{ReachError, Service, read_endpoints, services, write_endpoints};
pub use told::{as_json, as_table, as_text};

/// Which of what was set aside is meant. What is not given selects all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of the commands that FAILED; otherwise of everything else.
    pub commands: bool,
    pub ids: Vec<String>,
    pub key: Option<String>,
    /// The subscription, the kind of effect, the timer or the method.
    pub name: Option<String>,
    /// A part of the reason.
    pub error: Option<String>,
}

impl Selection {
    /// Nothing narrows it down.
    pub const fn is_everything(&self) -> bool {
        self.ids.is_empty() && self.key.is_none() && self.name.is_none() && self.error.is_none()
    }

    fn selects(&self, parked: &Parked) -> bool {
        let by_id = self.ids.is_empty() || self.ids.contains(&parked.id);
        by_id && self.commands == (parked.kind() == ParkedKind::Command)
    }
}

/// Something that was set aside, and where.
#[derive(Clone, Debug)]
pub struct Found {
    pub service: Role,
    pub parked: Parked,
}

impl Found {
    /// An operator has yet to decide about it.
    pub fn is_open(&self) -> bool {
        self.parked.state() == ParkedState::Parked
    }
}

impl Operator {
    /// Everything that is selected, all pages of it.
    pub async fn list(&self, service: Role, selection: &Selection) -> Result<Vec<Found>, CallError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListParkedRequest {
                service: service.name().to_owned(),
                kind: if selection.commands { ParkedKind::Command } else { ParkedKind::Unspecified }.into(),
                key: selection.key.clone().unwrap_or_default(),
                name: selection.name.clone().unwrap_or_default(),
                error: selection.error.clone().unwrap_or_default(),
                page_token,
                ..Default::default()
            };
            let page: ListParkedResponse = self.ask(service, &request).await?;
            let selected = page.parked.into_iter().filter(|parked| selection.selects(parked));
            found.extend(selected.map(|parked| Found { service, parked }));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// One of them, with what it fails at.
    pub async fn show(&self, found: &Found) -> Result<ShowParkedResponse, CallError> {
        let request = ShowParkedRequest { service: found.service.name().to_owned(), id: found.parked.id.clone() };
        self.ask(found.service, &request).await
    }

    /// Has it tried again.
    pub async fn redrive(&self, found: &Found) -> Result<(), CallError> {
        let (service, id) = (found.service.name().to_owned(), found.parked.id.clone());
        let request = RedriveRequest { service, id, author: self.author().to_owned() };
        self.tell::<_, RedriveResponse>(found.service, &request).await.map(drop)
    }

    /// Gives it up.
    pub async fn drop(&self, found: &Found, note: &str) -> Result<(), CallError> {
        let (service, id) = (found.service.name().to_owned(), found.parked.id.clone());
        let (author, note) = (self.author().to_owned(), note.to_owned());
        let request = DropRequest { service, id, revision: found.parked.revision, author, note };
        self.tell::<_, DropResponse>(found.service, &request).await.map(drop)
    }
}
