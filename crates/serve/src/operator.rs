//! What a service shows its operators of something that is parked: the message that it fails at, and the trace that led to it.

use bytes::Bytes;
use event::{Key, Record, to_json};
use ledger::{Code, operator};
use prost::Message as _;
use proto::operator::v1::{Parked, ParkedKind, ShowParkedRequest, ShowParkedResponse};
use tonic::Status;

use crate::owner::{Owner, decode};
use crate::status;

pub(crate) const SHOW_PARKED: &str = "millrace.operator.v1.OperatorService/ShowParked";

/// What something fails at.
struct Subject {
    type_name: String,
    body: Bytes,
    traceparent: String,
}

impl Owner {
    pub(crate) async fn show_parked(&self, seal: &str, body: Bytes) -> Result<Bytes, Status> {
        let opened = &self.judge.opened;
        let caller = self.judge.query(SHOW_PARKED, seal, &body).await.map_err(status::of_refusal)?;
        let request: ShowParkedRequest = decode(body)?;
        let reader = opened.ledger.reader(caller).await.map_err(status::of)?;
        let parked = operator::find_parked(&reader, &request.id).await.map_err(status::of)?;
        let none = || status::refused(Code::NotFound, "NOT_PARKED", "it is not parked, or not any more");
        let parked = parked.ok_or_else(none)?;
        let mut response = ShowParkedResponse::default();
        match self.subject(&parked).await {
            Ok(Subject { type_name, body, traceparent }) => {
                let json = to_json(&opened.schema, &type_name, &body).map(|json| json.to_string());
                let undecodable = || "the message cannot be decoded".to_owned();
                response.unavailable = if json.is_some() { String::new() } else { undecodable() };
                response.json = json.unwrap_or_default();
                (response.r#type, response.traceparent) = (type_name, traceparent);
            }
            Err(reason) => response.unavailable = reason,
        }
        response.parked = Some(parked);
        Ok(response.encode_to_vec().into())
    }

    async fn subject(&self, parked: &Parked) -> Result<Subject, String> {
        if parked.kind() == ParkedKind::Command {
            return self.request(parked).await;
        }
        let key: Key = parked.key.parse().map_err(|_| format!("`{}` is no key", parked.key))?;
        let record = self.event(parked, key).await?;
        let record = record.ok_or_else(|| "its owner's log does not have it".to_owned())?;
        Ok(Subject { type_name: record.type_name, body: record.body, traceparent: record.trace.traceparent })
    }

    async fn event(&self, parked: &Parked, key: Key) -> Result<Option<Record>, String> {
        let opened = &self.judge.opened;
        let own = opened.schema.domain_of_aggregate(key.aggregate()).is_none_or(|domain| domain == opened.name);
        if parked.kind() != ParkedKind::Event || own {
            return opened
                .ledger
                .event_at(&key, parked.revision)
                .await
                .map_err(|_| "the log cannot be read".to_owned());
        }
        let domain = opened.schema.domain_of_aggregate(key.aggregate()).unwrap_or_default();
        let read = self.owners.read(domain, &[(key, parked.revision - 1)]).await.map_err(|error| error.to_string())?;
        Ok(read.records.into_iter().find(|record| record.revision == parked.revision))
    }

    async fn request(&self, parked: &Parked) -> Result<Subject, String> {
        let opened = &self.judge.opened;
        let id = parked.key.parse().map_err(|_| format!("`{}` is no id", parked.key))?;
        let kept = opened.ledger.kept_request(id).await.map_err(|_| "the receipt cannot be read".to_owned())?;
        let kept = kept.ok_or("its request held a secret, or was given up: it was not kept")?;
        let method = opened.schema.method(&parked.name).ok_or("its method is not known to this version")?;
        let type_name = method.input.full_name().to_owned();
        Ok(Subject { type_name, body: kept.body, traceparent: kept.traceparent })
    }
}
