//! Asking other services: for what is in their logs, and how commands ended.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use event::{Id, Key, Record, headers};
use http::uri::PathAndQuery;
use identity::{Principal, Sealer, seal};
use ledger::process_now;
use prost::Message;
use proto::command::v1::{GetReceiptRequest, GetReceiptResponse, Receipt};
use proto::eventlog::v1::{ReadRequest, ReadResponse, read_request::Range};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::Instrument as _;

use crate::raw::Raw;

const READ: &str = "millrace.eventlog.v1.EventLogService/Read";
const GET_RECEIPT: &str = "millrace.command.v1.DeliveryService/GetReceipt";
/// How long a read may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An owner that has not answered by then counts as away: somebody waits.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(1);
/// A thousand events of the greatest size that a command can cause fit in.
const RESPONSE_MAX: usize = 64 << 20;

/// Other services, by domain.
#[derive(Clone, Debug)]
pub struct Owners {
    servers: BTreeMap<String, Server>,
    sealer: Sealer,
}

/// Where a service is, and the way there.
#[derive(Clone, Debug)]
pub struct Server {
    pub address: String,
    pub channel: Channel,
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
    pub fn new(servers: BTreeMap<String, Server>, sealer: Sealer) -> Self {
        Self { servers, sealer }
    }

    /// The events of keys after a revision each, sorted by key and revision; at most a thousand, so a long history takes several calls.
    pub async fn read(&self, domain: &str, ranges: &[(Key, i64)]) -> Result<Vec<Record>, OwnerError> {
        let range = |(key, after): &(Key, i64)| Range { key: key.to_string(), after_revision: *after };
        let request = ReadRequest { ranges: ranges.iter().map(range).collect(), limit: 0 };
        let events = self.ask::<ReadResponse>(domain, (READ, TIMEOUT), self.own_accord(), &request).await?.events;
        let records: Result<Vec<Record>, _> = events.into_iter().map(Record::try_from).collect();
        records.map_err(|error| failed(domain, Status::data_loss(error.to_string())))
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
        let now = process_now();
        let statement = seal::statement(&principal, method, &body, now, now.plus(within * 2));
        let sealed = seal::to_text(&self.sealer.seal(domain, &statement)?);
        let span = trace::span::rpc_client(method, &server.address);
        let mut request = tonic::Request::new(body);
        request.set_timeout(within);
        let call = call(&server.channel, method, &sealed, request).instrument(span.clone());
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
    channel: &Channel,
    method: &str,
    sealed: &str,
    mut request: tonic::Request<Bytes>,
) -> Result<Bytes, Status> {
    let invalid = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let path = PathAndQuery::try_from(format!("/{method}")).map_err(|error| invalid(&error))?;
    request.metadata_mut().insert(headers::SEAL, sealed.parse().map_err(|error| invalid(&error))?);
    trace::inject(request.metadata_mut());
    let mut grpc = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(RESPONSE_MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
}
