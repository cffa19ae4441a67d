//! Reading other services' logs.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use event::{Key, Record, headers};
use identity::{Principal, Sealer, seal};
use ledger::process_now;
use prost::Message as _;
use proto::eventlog::v1::{ReadRequest, ReadResponse, read_request::Range};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};

use crate::raw::Raw;

const READ: &str = "millrace.eventlog.v1.EventLogService/Read";
/// How long a read may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A thousand events of the greatest size that a command can cause fit in.
const RESPONSE_MAX: usize = 64 << 20;

/// The logs of other services, by domain.
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

/// Why a log could not be read. Always tried again.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error("no address is configured for {0}; set MILLRACE_ENDPOINT_{upper}", upper = .0.to_uppercase())]
    NoEndpoint(String),
    #[error("{0}")]
    Seal(#[from] identity::SealError),
    #[error("{domain} did not answer: {message}")]
    Call { domain: String, message: String },
}

impl Owners {
    pub fn new(servers: BTreeMap<String, Server>, sealer: Sealer) -> Self {
        Self { servers, sealer }
    }

    /// The events of keys after a revision each, sorted by key and revision; at most a thousand, so a long history takes several calls.
    pub async fn read(&self, domain: &str, ranges: &[(Key, i64)]) -> Result<Vec<Record>, OwnerError> {
        let server = self.servers.get(domain).ok_or_else(|| OwnerError::NoEndpoint(domain.to_owned()))?;
        let span = trace::span::rpc_client(READ, &server.address);
        self.call(domain, &server.channel, ranges).instrument(span).await
    }

    async fn call(&self, domain: &str, channel: &Channel, ranges: &[(Key, i64)]) -> Result<Vec<Record>, OwnerError> {
        let range = |(key, after): &(Key, i64)| Range { key: key.to_string(), after_revision: *after };
        let body: Bytes = ReadRequest { ranges: ranges.iter().map(range).collect(), limit: 0 }.encode_to_vec().into();
        let now = process_now();
        let statement =
            seal::statement(&Principal::service(self.sealer.caller()), READ, &body, now, now.plus(TIMEOUT * 2));
        let sealed = seal::to_text(&self.sealer.seal(domain, &statement)?);

        let failed = |message: String| OwnerError::Call { domain: domain.to_owned(), message };
        let mut request = tonic::Request::new(body);
        request.set_timeout(TIMEOUT);
        request
            .metadata_mut()
            .insert(headers::SEAL, sealed.parse().map_err(|_| failed("its seal is no header".to_owned()))?);
        trace::inject(request.metadata_mut());
        let mut grpc = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(RESPONSE_MAX);
        grpc.ready().await.map_err(|error| failed(error.to_string()))?;
        let path = http::uri::PathAndQuery::from_static("/millrace.eventlog.v1.EventLogService/Read");
        let answer = tokio::time::timeout(TIMEOUT, grpc.unary(request, path, Raw)).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("it took too long")));
        trace::span::record_client(&Span::current(), answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        let answer = answer.map_err(|status| failed(status.message().to_owned()))?.into_inner();
        let events = ReadResponse::decode(answer).map_err(|error| failed(error.to_string()))?.events;
        let records: Result<Vec<Record>, _> = events.into_iter().map(Record::try_from).collect();
        records.map_err(|error| failed(error.to_string()))
    }
}
