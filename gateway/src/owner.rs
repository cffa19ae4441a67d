//! The calls that the gateway makes: to the owner of what a client asks for.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use proto::Message;
use proto::command::v1::{DeliverRequest, DeliverResponse, GetReceiptRequest, GetReceiptResponse};
use serve::raw::Raw;
use serve::transport::{self, Tls};
use tonic::client::Grpc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tracing::Instrument as _;

use crate::error::Refusal;

/// How commands reach their owner directly.
pub const DELIVER: &str = "millrace.command.v1.DeliveryService/Deliver";

/// How their receipts are read.
pub const GET_RECEIPT: &str = "millrace.command.v1.DeliveryService/GetReceipt";

/// An answer larger than this is not passed on.
const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;

/// Between attempts at a question that nobody answered: a connection ends with the instance at its end, and a new one finds another. If there
/// is none, it is soon told.
const ASK_AGAIN: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(200)];

/// A service, as the gateway calls it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Owner {
    pub domain: String,
    address: String,
    channel: Channel,
    /// Answers that go on coming have a connection of their own.
    streams: Channel,
}

/// All that goes with a call's body. Nothing of the client's own metadata does, unless it is named here.
#[derive(Clone, Debug, Default)]
pub struct Onward {
    /// The seal as text; empty where it is in the request.
    pub seal: String,
    pub consistency_token: Option<String>,
    /// None: a stream that lasts.
    pub within: Option<Duration>,
}

impl Owner {
    /// `address` is where it is, such as `http://order:7403`.
    pub fn new(domain: String, address: String, tls: Option<&Tls>) -> Result<Self, transport::Error> {
        let (channel, streams) = (transport::channel(&address, tls)?, transport::stream_channel(&address, tls)?);
        Ok(Self { domain, address, channel, streams })
    }

    /// Calls a method, by its full name.
    pub async fn call(&self, method: &str, onward: Onward, body: Bytes) -> Result<Bytes, Status> {
        let span = trace::span::rpc_client(method, &self.address);
        let call = async {
            let (mut grpc, path) = prepare(&self.channel, method).await?;
            grpc.unary(request(onward, body)?, path, Raw).await
        };
        let result = call.instrument(span.clone()).await;
        trace::span::record_client(&span, result.as_ref().err().map_or(Code::Ok, Status::code));
        result.map(tonic::Response::into_inner)
    }

    /// Calls a method that changes nothing, so that it may be called again.
    pub async fn ask(&self, method: &str, onward: Onward, body: Bytes) -> Result<Bytes, Status> {
        again(|| self.call(method, onward.clone(), body.clone())).await
    }

    /// Calls a method that goes on answering.
    pub async fn watch(&self, method: &str, onward: Onward, body: Bytes) -> Result<Streaming<Bytes>, Status> {
        again(|| self.watch_once(method, onward.clone(), body.clone())).await
    }

    async fn watch_once(&self, method: &str, onward: Onward, body: Bytes) -> Result<Streaming<Bytes>, Status> {
        let span = trace::span::rpc_client(method, &self.address);
        let call = async {
            let (mut grpc, path) = prepare(&self.streams, method).await?;
            grpc.server_streaming(request(onward, body)?, path, Raw).await
        };
        let result = call.instrument(span.clone()).await;
        trace::span::record_client(&span, result.as_ref().err().map_or(Code::Ok, Status::code));
        result.map(tonic::Response::into_inner)
    }

    /// Delivers a command.
    pub async fn deliver(&self, onward: Onward, request: &DeliverRequest) -> Result<DeliverResponse, Status> {
        decode(self.call(DELIVER, onward, request.encode_to_vec().into()).await?)
    }

    /// Reads a receipt. `onward` carries the seal of exactly this request.
    pub async fn receipt(&self, onward: Onward, request: &GetReceiptRequest) -> Result<GetReceiptResponse, Status> {
        decode(self.ask(GET_RECEIPT, onward, request.encode_to_vec().into()).await?)
    }

    #[cfg(test)]
    pub(crate) fn nowhere(domain: &str) -> Self {
        let address = "http://127.0.0.1:1";
        Self::new(domain.to_owned(), address.to_owned(), None).unwrap()
    }
}

/// Calls until somebody answers, a few times.
async fn again<T, Call: Future<Output = Result<T, Status>>>(call: impl Fn() -> Call) -> Result<T, Status> {
    for pause in ASK_AGAIN {
        match call().await {
            Err(status) if Refusal::is_unanswered(&status) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    call().await
}

async fn prepare(channel: &Channel, method: &str) -> Result<(Grpc<Channel>, PathAndQuery), Status> {
    let path = PathAndQuery::try_from(format!("/{method}")).map_err(|_| Status::internal("not a path"))?;
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(ANSWER_LEN_MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok((grpc, path))
}

fn request(onward: Onward, body: Bytes) -> Result<Request<Bytes>, Status> {
    let mut request = Request::new(body);
    if let Some(within) = onward.within {
        request.set_timeout(within);
    }
    let metadata = request.metadata_mut();
    trace::inject(metadata);
    insert(metadata, event::headers::SEAL, Some(onward.seal).filter(|seal| !seal.is_empty()))?;
    insert(metadata, event::headers::CONSISTENCY_TOKEN, onward.consistency_token)?;
    Ok(request)
}

fn insert(metadata: &mut MetadataMap, name: &'static str, value: Option<String>) -> Result<(), Status> {
    if let Some(value) = value {
        let value = MetadataValue::try_from(value).map_err(|_| Status::internal("not metadata"))?;
        metadata.insert(name, value);
    }
    Ok(())
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes).map_err(|error| Status::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_that_it_calls_exist() {
        let schema = event::Schema::embedded().unwrap();
        for method in [DELIVER, GET_RECEIPT] {
            assert!(schema.method(method).is_some(), "{method}");
        }
    }
}
