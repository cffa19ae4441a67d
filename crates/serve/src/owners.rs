//! Asking other services: for what is in their logs, and how commands ended.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use event::{History, Id, Key, Micros, Record, headers};
use http::uri::PathAndQuery;
use identity::{Principal, Sealer, seal};
use ledger::{Heads, KeyHead, Ledger, LogPart, Place, Since};
use prost::Message;
use proto::command::v1::{GetReceiptRequest, GetReceiptResponse, Receipt};
use proto::eventlog::v1::{
    HeadsRequest, HeadsResponse, ReadRequest, ReadResponse, heads_response, read_request::Range,
};
use tonic::{Code, Status};
use tracing::Instrument as _;

use crate::log::{HEADS, READ};
use crate::raw::Raw;
use crate::transport::Callee;

const GET_RECEIPT: &str = "millrace.command.v1.DeliveryService/GetReceipt";
/// How long a read may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An owner that has not answered by then counts as away: somebody waits.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls that one reading makes at most, of a thousand events each.
const PAGES: usize = 10;
/// A thousand events of the greatest size that a command can cause fit in.
const RESPONSE_MAX: usize = 64 << 20;

/// Other services, by domain.
#[derive(Clone, Debug)]
pub struct Owners {
    servers: BTreeMap<String, Server>,
    sealer: Sealer,
    /// Seals say its time: the process's may differ from their reader's by more than they are good for.
    ledger: Ledger,
}

/// Where a service is, and the way there.
#[derive(Clone, Debug)]
pub struct Server {
    pub address: String,
    pub callee: Callee,
}

/// Why another service did not answer. Always tried again.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error("no address is configured for {0}; set MILLRACE_ENDPOINT_{upper}", upper = .0.to_uppercase())]
    NoEndpoint(String),
    #[error("{0}")]
    Seal(#[from] identity::SealError),
    #[error("{domain} did not answer: {}", .status.message())]
    Call { domain: String, status: Box<Status> },
}

impl Owners {
    pub fn new(servers: BTreeMap<String, Server>, sealer: Sealer, ledger: Ledger) -> Self {
        Self { servers, sealer, ledger }
    }

    /// The events of keys after a revision each, sorted by revision within each key; of long histories [`PAGES`] thousand at most, so that
    /// what is read next goes on from there.
    pub async fn read(&self, domain: &str, ranges: &[(Key, i64)]) -> Result<LogPart, OwnerError> {
        let mut ranges: BTreeMap<Key, i64> = ranges.iter().cloned().collect();
        let mut part = LogPart { epoch: i64::MAX, records: Vec::new() };
        for _ in 0..PAGES {
            let range = |(key, after): (&Key, &i64)| Range { key: key.to_string(), after_revision: *after };
            let request = ReadRequest { ranges: ranges.iter().map(range).collect(), limit: 0 };
            let response: ReadResponse = self.ask(domain, (READ, TIMEOUT), self.own_accord(), &request).await?;
            let page: Result<Vec<Record>, _> = response.events.into_iter().map(Record::try_from).collect();
            let page = page.map_err(|error| failed(domain, Status::data_loss(error.to_string())))?;
            // All keys on a page but the last are complete.
            for record in &page {
                ranges.remove(&record.key);
            }
            ranges.extend(page.last().map(|record| (record.key.clone(), record.revision)));
            part.epoch = part.epoch.min(response.epoch);
            part.records.extend(page);
            if !response.truncated {
                break;
            }
        }
        Ok(part)
    }

    /// What the keys of these kinds have come to since a place in the owner's log.
    pub async fn heads(&self, domain: &str, aggregates: &[&str], since: &Since) -> Result<Heads, OwnerError> {
        let text = |id: Option<String>| id.unwrap_or_default();
        let request = HeadsRequest {
            aggregates: aggregates.iter().map(|&aggregate| aggregate.to_owned()).collect(),
            log_id: text(since.log_id.map(|id| id.to_string())),
            epoch: since.epoch,
            after_position: since.place.position,
            event_id: text(since.place.event_id.map(|id| id.to_string())),
            limit: 0,
        };
        let response: HeadsResponse = self.ask(domain, (HEADS, TIMEOUT), self.own_accord(), &request).await?;
        heads(response).ok_or_else(|| failed(domain, Status::data_loss("what it says of its log cannot be read")))
    }

    /// The receipt of a user's command. None if it has not ended, or is someone else's.
    pub async fn receipt(
        &self,
        domain: &str,
        request: &GetReceiptRequest,
        user: Option<Id>,
    ) -> Result<Option<Receipt>, OwnerError> {
        // Whether the session has ended since is nobody's business here.
        let principal = Principal { user, ..self.own_accord() };
        match self.ask::<GetReceiptResponse>(domain, (GET_RECEIPT, RECEIPT_TIMEOUT), principal, request).await {
            Ok(response) => Ok(response.receipt),
            Err(OwnerError::Call { status, .. })
                if matches!(status.code(), Code::NotFound | Code::PermissionDenied) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn own_accord(&self) -> Principal {
        Principal::service(self.sealer.caller())
    }

    async fn ask<R: Message + Default>(
        &self,
        domain: &str,
        (method, within): (&'static str, Duration),
        principal: Principal,
        request: &impl Message,
    ) -> Result<R, OwnerError> {
        let server = self.servers.get(domain).ok_or_else(|| OwnerError::NoEndpoint(domain.to_owned()))?;
        let body: Bytes = request.encode_to_vec().into();
        let now = self.ledger.about_now();
        let statement = seal::statement(&principal, method, &body, now, now.plus(within * 2));
        let sealed = seal::to_text(&self.sealer.seal(domain, &statement)?);
        let span = trace::span::rpc_client(method, &server.address);
        let mut request = tonic::Request::new(body);
        request.set_timeout(within);
        let call = call(server.callee.clone(), method, sealed, request).instrument(span.clone());
        let answer = tokio::time::timeout(within, call).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("it took too long")));
        trace::span::record_client(&span, answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        let answer = answer.map_err(|status| failed(domain, status))?;
        R::decode(answer).map_err(|error| failed(domain, Status::data_loss(error.to_string())))
    }
}

fn failed(domain: &str, status: Status) -> OwnerError {
    OwnerError::Call { domain: domain.to_owned(), status: Box::new(status) }
}

async fn call(
    callee: Callee,
    method: &'static str,
    sealed: String,
    mut request: tonic::Request<Bytes>,
) -> Result<Bytes, Status> {
    let invalid = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let path = PathAndQuery::try_from(format!("/{method}")).map_err(|error| invalid(&error))?;
    request.metadata_mut().insert(headers::SEAL, sealed.parse().map_err(|error| invalid(&error))?);
    trace::inject(request.metadata_mut());
    let mut grpc = tonic::client::Grpc::new(callee).max_decoding_message_size(RESPONSE_MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
}

fn heads(response: HeadsResponse) -> Option<Heads> {
    let head = |head: heads_response::Head| {
        Some(KeyHead {
            key: head.key.parse().ok()?,
            epoch: head.epoch,
            revision: head.revision,
            history: History(head.history.as_ref().try_into().ok()?),
            time: Micros(head.time_us),
        })
    };
    let event_id = if response.event_id.is_empty() { None } else { Some(response.event_id.parse().ok()?) };
    Some(Heads {
        log_id: response.log_id.parse().ok()?,
        epoch: response.epoch,
        heads: response.heads.into_iter().map(head).collect::<Option<_>>()?,
        place: Place { position: response.position, event_id },
        more: response.more,
    })
}
