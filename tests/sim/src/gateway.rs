//! The gateway's side of a command: sealed, put into its owner's queue or brought to it directly, and sent again under the same id until
//! somebody knows how it ended.

use std::time::Duration;

use bytes::Bytes;
use event::{Id, Micros, headers, subject};
use http::uri::PathAndQuery;
use identity::{Principal, Sealer, seal};
use ledger::operator::OPERATOR;
use prost::{Message, Name};
use proto::command::v1::{DeliverRequest, DeliverResponse, Seal, Statement};
use serve::GATEWAY;
use serve::raw::Raw;
use tokio::sync::oneshot;

use crate::broker::{self, Refused};
use crate::executor::Owner;
use crate::fault::Fault;
use crate::network::way_to;
use crate::sim::{NAMESPACE, SERVICES, Sim, master_key};

const DELIVER: &str = "/millrace.command.v1.DeliveryService/Deliver";
/// How long an answer is waited for, before the command is sent again.
const PATIENCE: Duration = Duration::from_secs(5);
/// When a command must have begun.
const GOOD_FOR: Duration = Duration::from_hours(24);

/// Sends what one person asks for. Clones do so, too.
#[derive(Clone)]
pub struct Gateway {
    sim: Sim,
    sealer: Sealer,
    /// Nobody, before somebody has logged in.
    pub user: Option<Id>,
    pub session: Option<Id>,
}

/// A command, whichever way it goes.
struct Command {
    owner: Owner,
    method: String,
    id: Id,
    key: Option<Id>,
    body: Bytes,
    durable: bool,
}

impl Gateway {
    pub fn new(sim: Sim) -> Self {
        Self::of(sim, GATEWAY)
    }

    /// What operators call from, which is no gateway.
    pub fn of_operators(sim: Sim) -> Self {
        Self::of(sim, OPERATOR)
    }

    fn of(sim: Sim, caller: &str) -> Self {
        let keys = SERVICES.map(|owner| (owner.to_owned(), master_key().owner(owner).pair(caller)));
        Self { sim, sealer: Sealer::new(caller, keys), user: None, session: None }
    }

    /// Sends a command until it has ended.
    pub async fn send<Q: Message + Name>(&self, id: Id, key: Option<Id>, request: &Q) -> DeliverResponse {
        self.send_to(None, id, key, request).await
    }

    /// The same, to a service that is named because its method does not say it.
    pub async fn send_to<Q: Message + Name>(
        &self,
        owner: Option<Owner>,
        id: Id,
        key: Option<Id>,
        request: &Q,
    ) -> DeliverResponse {
        let mut command = self.command(id, key, request);
        command.owner = owner.unwrap_or(command.owner);
        loop {
            if let Some(answer) = self.attempt(&command, self.sim.now()).await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20 + self.sim.chance().below(2_000))).await;
        }
    }

    /// Puts a command into the queue, and says its subject there if that is known to have happened. What came of it nobody is told.
    pub async fn queue<Q: Message + Name>(&self, id: Id, request: &Q) -> Option<String> {
        let command = self.command(id, None, request);
        let (queued, subject) =
            self.publish(&command, &self.seal(&command, self.sim.now()), format!("reply.{id}")).await?;
        queued.ok().map(|()| subject)
    }

    fn command<Q: Message + Name>(&self, id: Id, key: Option<Id>, request: &Q) -> Command {
        let schema = self.sim.schema();
        let method = schema.method_taking(&Q::full_name());
        let method = method.unwrap_or_else(|| unreachable!("every request is some method's: {}", Q::full_name()));
        let owner = SERVICES.into_iter().find(|service| *service == method.domain).unwrap_or("order");
        let durable = method.delivery == event::Delivery::Durable;
        Command { owner, method: method.name.clone(), id, key, body: request.encode_to_vec().into(), durable }
    }

    /// Once. None if nobody knows what came of it.
    async fn attempt(&self, command: &Command, accepted_at: Micros) -> Option<DeliverResponse> {
        let seal = self.seal(command, accepted_at);
        let queued = command.durable && self.sim.chance().below(4) > 0;
        let answer = async {
            if queued { self.through_the_queue(command, &seal).await } else { self.directly(command, &seal).await }
        };
        tokio::time::timeout(PATIENCE, answer).await.ok().flatten()
    }

    fn seal(&self, command: &Command, accepted_at: Micros) -> Seal {
        let principal =
            Principal { user: self.user, session: self.session, ..Principal::service(self.sealer.caller()) };
        let not_after = accepted_at.plus(GOOD_FOR);
        let statement = seal::statement(&principal, &command.method, &command.body, accepted_at, not_after);
        let anonymous = self.user.is_none() && self.sealer.caller() == GATEWAY;
        let statement = Statement { command_id: command.id.to_string(), anonymous, ..statement };
        let sealed = self.sealer.seal(command.owner, &statement);
        sealed.unwrap_or_else(|error| unreachable!("the gateway has a key for every owner: {error}"))
    }

    async fn through_the_queue(&self, command: &Command, seal: &Seal) -> Option<DeliverResponse> {
        let (waiting, answered) = oneshot::channel();
        let reply_to = format!("reply.{}.{}", command.id, self.sim.chance().below(u64::MAX));
        self.sim.replies().insert(reply_to.clone(), waiting);
        // A copy that is queued will be answered, to whom it was sent for.
        let _ = self.publish(command, seal, reply_to).await?;
        answered.await.ok()
    }

    /// What the broker says to a command, and the command's subject. None if it does not answer.
    async fn publish(&self, command: &Command, seal: &Seal, reply_to: String) -> Option<(Result<(), Refused>, String)> {
        let lost = self.sim.strikes(Fault::PublicationLost, 20);
        self.sim.way().await;
        if lost || self.sim.wired().is_away {
            return None;
        }
        let mut headers = vec![(headers::SEAL, seal::to_text(seal)), (headers::REPLY, reply_to)];
        headers.extend(command.key.map(|key| (headers::KEY, key.to_string())));
        let subject = subject::of_command(NAMESPACE, &command.method, command.id);
        let message = broker::Message { subject: subject.clone(), headers, payload: command.body.clone() };
        let stream = subject::command_stream(NAMESPACE, command.owner);
        Some((self.sim.wired().broker.publish(&stream, None, message, self.sim.now()), subject))
    }

    async fn directly(&self, command: &Command, seal: &Seal) -> Option<DeliverResponse> {
        let request = DeliverRequest {
            method: command.method.clone(),
            seal: seal.encode_to_vec().into(),
            key: command.key.map(|key| key.to_string()).unwrap_or_default(),
            body: command.body.clone(),
        };
        let mut calls = tonic::client::Grpc::new(way_to(&self.sim, command.owner));
        calls.ready().await.ok()?;
        let body: Bytes = request.encode_to_vec().into();
        let answer = calls.unary(tonic::Request::new(body), PathAndQuery::from_static(DELIVER), Raw).await;
        DeliverResponse::decode(answer.ok()?.into_inner()).ok()
    }
}
