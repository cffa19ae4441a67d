use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event::{Schema, headers};
use http::uri::PathAndQuery;
use identity::{PairKey, Principal, Sealer, seal};
use ledger::operator::OPERATOR;
use ledger::{Chance, process_now};
use proto::command::v1::{DeliverRequest, DeliverResponse, deliver_response};
use proto::{Message, Name};
use serve::raw::Raw;
use serve::transport::{self, Tls};
use tonic::Status;
use tonic::client::Grpc;
use tonic::transport::Channel;

use super::reach::Service;
use crate::Role;

const DELIVER: &str = "millrace.command.v1.DeliveryService/Deliver";
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a service did not do what an operator asked. Each is one sentence that the operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{service} does not answer at {address}: {message}; where it is says {variable}")]
    Away { service: Role, address: String, message: String, variable: String },
    #[error("{service}: {message}")]
    Refused { service: Role, message: String },
    #[error(transparent)]
    Seal(#[from] identity::SealError),
    #[error(transparent)]
    Transport(#[from] transport::Error),
}

/// Calls services with an operator's seal.
#[derive(Debug)]
pub struct Operator {
    schema: Arc<Schema>,
    sealer: Sealer,
    servers: BTreeMap<Role, (String, Channel)>,
    chance: Chance,
    author: String,
}

impl Operator {
    /// `author` is who will be written down as having decided.
    pub fn new(
        schema: Arc<Schema>,
        services: BTreeMap<Role, Service>,
        tls: Option<&Tls>,
        author: String,
    ) -> Result<Self, CallError> {
        let mut servers = BTreeMap::new();
        let mut keys: BTreeMap<String, PairKey> = BTreeMap::new();
        for (role, Service { address, key }) in services {
            let channel = transport::channel(&address, tls)?;
            servers.insert(role, (address, channel));
            keys.insert(role.name().to_owned(), key);
        }
        Ok(Self { schema, sealer: Sealer::new(OPERATOR, keys), servers, chance: Chance::new(), author })
    }

    /// The services that it calls.
    pub fn services(&self) -> impl Iterator<Item = Role> {
        self.servers.keys().copied()
    }

    pub(super) fn author(&self) -> &str {
        &self.author
    }

    /// Asks a query.
    pub(super) async fn ask<Q: Message + Name, R: Message + Default>(
        &self,
        service: Role,
        request: &Q,
    ) -> Result<R, CallError> {
        let method = self.method(service, &Q::full_name())?;
        let body: Bytes = request.encode_to_vec().into();
        let now = process_now();
        let statement = seal::statement(&Principal::service(OPERATOR), &method, &body, now, now.plus(TIMEOUT * 2));
        let sealed = seal::to_text(&self.sealer.seal(service.name(), &statement)?);
        decode(service, self.call(service, &method, sealed, body).await?)
    }

    /// Sends a command, and waits until it was carried out.
    pub(super) async fn tell<Q: Message + Name, R: Message + Default>(
        &self,
        service: Role,
        request: &Q,
    ) -> Result<R, CallError> {
        let method = self.method(service, &Q::full_name())?;
        let body: Bytes = request.encode_to_vec().into();
        let now = process_now();
        let mut statement = seal::statement(&Principal::service(OPERATOR), &method, &body, now, now.plus(TIMEOUT * 2));
        statement.command_id = self.chance.id(now).to_string();
        let seal = self.sealer.seal(service.name(), &statement)?.encode_to_vec().into();
        let envelope = DeliverRequest { method, seal, key: String::new(), body }.encode_to_vec();
        let answer = self.call(service, DELIVER, String::new(), envelope.into()).await?;
        match decode::<DeliverResponse>(service, answer)?.outcome {
            Some(deliver_response::Outcome::Error(error)) => {
                Err(CallError::Refused { service, message: error.message })
            }
            Some(deliver_response::Outcome::Response(response)) => decode(service, response),
            None => Ok(R::default()),
        }
    }

    async fn call(&self, service: Role, method: &str, seal: String, body: Bytes) -> Result<Bytes, CallError> {
        let (address, channel) = self.server(service)?;
        let exchange = async {
            let mut request = tonic::Request::new(body);
            request.set_timeout(TIMEOUT);
            if !seal.is_empty() {
                let sealed = seal.parse().map_err(|_| Status::internal("its seal is no header"))?;
                request.metadata_mut().insert(headers::SEAL, sealed);
            }
            let path = PathAndQuery::try_from(format!("/{method}")).map_err(|_| Status::internal("not a path"))?;
            let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            grpc.unary(request, path, Raw).await
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("it took too long")));
        answer.map(tonic::Response::into_inner).map_err(|status| failure(service, address, &status))
    }

    fn server(&self, service: Role) -> Result<(&str, &Channel), CallError> {
        let server = self.servers.get(&service).map(|(address, channel)| (address.as_str(), channel));
        server.ok_or_else(|| CallError::Refused { service, message: "it was not to be called".to_owned() })
    }

    fn method(&self, service: Role, request: &str) -> Result<String, CallError> {
        let method = self.schema.method_taking(request).map(|method| method.name.clone());
        method.ok_or_else(|| CallError::Refused { service, message: format!("no method takes a {request}") })
    }
}

fn failure(service: Role, address: &str, status: &Status) -> CallError {
    let message = status.message().to_owned();
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => {
            let variable = crate::settings::endpoint_variable(service.name());
            CallError::Away { service, address: address.to_owned(), message, variable }
        }
        tonic::Code::Unimplemented => {
            let message = "it is of a version that knows nothing of this".to_owned();
            CallError::Refused { service, message }
        }
        _ => CallError::Refused { service, message },
    }
}

fn decode<M: Message + Default>(service: Role, bytes: Bytes) -> Result<M, CallError> {
    M::decode(bytes).map_err(|error| CallError::Refused { service, message: format!("its answer: {error}") })
}
