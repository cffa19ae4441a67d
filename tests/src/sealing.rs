//! Seals as the gateway, or a service, makes them. A test can, because it knows the master key.

use event::{Id, Micros};
use identity::{Principal, Sealer, seal};
use millrace::Role;
use prost::Message as _;
use proto::command::v1::{DeliverRequest, DeliverResponse, Seal, Statement};
use tonic::Code;

use crate::shop::master_key;
use crate::stranger::Stranger;

pub(crate) const DELIVER: &str = "millrace.command.v1.DeliveryService/Deliver";

/// Who seals what, for whom.
#[derive(Clone)]
pub(crate) struct Sealing {
    pub(crate) owner: Role,
    pub(crate) principal: Principal,
    pub(crate) accepted_at: Micros,
    pub(crate) not_after: Micros,
}

/// Delivers a command to its owner directly, as often as it is given back, and tells how it ended.
pub(crate) async fn deliver(inside: &Stranger, command: &DeliverRequest) -> DeliverResponse {
    testkit::eventually_some("the owner carries the command out", async || match inside.ask(DELIVER, command).await {
        Err(status) if status.code() == Code::Unavailable => None,
        ended => Some(ended.unwrap()),
    })
    .await
}

impl Sealing {
    /// What a service states of its own accord, or the gateway on nobody's behalf.
    pub(crate) fn by(caller: Role, owner: Role) -> Self {
        let now = ledger::process_now();
        let not_after = now.plus(std::time::Duration::from_mins(1));
        Self { owner, principal: Principal::service(caller.name()), accepted_at: now, not_after }
    }

    /// What the gateway states on behalf of a user, in a session.
    pub(crate) fn of(owner: Role, user: &str, session: &str) -> Self {
        let gateway = Self::by(Role::Gateway, owner);
        let (user, session) = (user.parse().ok(), session.parse().ok());
        Self { principal: Principal { user, session, ..gateway.principal }, ..gateway }
    }

    pub(crate) fn query(&self, method: &str, body: &[u8]) -> Seal {
        self.seal(&self.statement(method, body))
    }

    pub(crate) fn command(&self, method: &str, id: Id, body: &[u8]) -> DeliverRequest {
        let statement = Statement { command_id: id.to_string(), ..self.statement(method, body) };
        let seal = self.seal(&statement).encode_to_vec().into();
        DeliverRequest { method: method.to_owned(), seal, key: String::new(), body: body.to_vec().into() }
    }

    fn statement(&self, method: &str, body: &[u8]) -> Statement {
        seal::statement(&self.principal, method, body, self.accepted_at, self.not_after)
    }

    fn seal(&self, statement: &Statement) -> Seal {
        let (caller, owner) = (&*self.principal.caller, self.owner.name());
        let key = master_key().owner(owner).pair(caller);
        Sealer::new(caller, [(owner.to_owned(), key)]).seal(owner, statement).unwrap()
    }
}
