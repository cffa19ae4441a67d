//! What an operator does about a database that was restored: its epoch is raised, and what diverged is gone on with, one by one, from what its
//! owner has.

use std::collections::BTreeMap;
use std::time::Duration;

use event::Id;
use ledger::Caller;
use prost::{Message as _, Name};
use proto::operator::v1::{
    DropRequest, ListParkedRequest, ListParkedResponse, Parked, ParkedState, RaiseEpochRequest, RedriveRequest,
};

use crate::executor::Owner;
use crate::gateway::Gateway;
use crate::sim::{SERVICES, Sim};

const LIST: &str = "millrace.operator.v1.OperatorService/ListParked";
/// How often what is parked is tried again before it is given up.
const REDRIVES: u32 = 3;
const AUTHOR: &str = "somebody";
/// How often somebody looks.
const ROUND: Duration = Duration::from_secs(20);

/// Looks after the services, for ever.
pub async fn attend(sim: Sim) {
    let operator = Gateway::of_operators(sim.clone());
    let mut redriven: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        tokio::time::sleep(ROUND).await;
        for service in SERVICES {
            if sim.instance(service).is_some_and(|instance| instance.opened.ledger.was_behind()) {
                raise(&sim, &operator, service).await;
            }
            for Parked { id, revision, key, .. } in parked(&sim, service).await {
                sim.listed().extend(key.rsplit('/').next().map(str::to_owned));
                let times = redriven.entry(format!("{service} {id}")).or_default();
                *times += 1;
                if *times <= REDRIVES {
                    let request = RedriveRequest { service: service.to_owned(), id, author: AUTHOR.to_owned() };
                    ask(&sim, &operator, service, &request).await;
                } else {
                    let note = "nothing helps".to_owned();
                    let (service_name, author) = (service.to_owned(), AUTHOR.to_owned());
                    let request = DropRequest { service: service_name, id, revision, author, note };
                    ask(&sim, &operator, service, &request).await;
                }
            }
        }
    }
}

/// Raises the epoch of a service whose database was restored.
pub async fn raise(sim: &Sim, operator: &Gateway, service: Owner) {
    let Some(instance) = sim.instance(service) else { return };
    let Ok(from) = instance.opened.ledger.epoch().await else { return };
    drop(instance);
    let request = RaiseEpochRequest { service: service.to_owned(), from };
    ask(sim, operator, service, &request).await;
}

async fn ask<Q: prost::Message + Name>(sim: &Sim, operator: &Gateway, service: Owner, request: &Q) {
    let id: Id = sim.chance().id(sim.now());
    // Whatever it says: who looks again sees what came of it.
    operator.send_to(Some(service), id, None, request).await;
}

async fn parked(sim: &Sim, service: Owner) -> Vec<Parked> {
    let Some(instance) = sim.instance(service) else { return Vec::new() };
    let opened = &instance.opened;
    let Ok(reader) = opened.ledger.reader(Caller::default()).await else { return Vec::new() };
    let state = ParkedState::Parked.into();
    let request = ListParkedRequest { service: service.to_owned(), state, ..Default::default() };
    let answer = opened.query(LIST, reader, request.encode_to_vec().into()).await;
    answer.ok().and_then(|answer| ListParkedResponse::decode(answer).ok()).unwrap_or_default().parked
}
