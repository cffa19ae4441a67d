//! A gateway without a port and without a broker, and behind it an owner of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use event::{Micros, Schema};
use gateway::{Config, Deps, Limits};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use identity::{Claims, Issuer, MasterKey, STAFF, Sealer, SigningKey, Verifier, seal};
use messaging::Broker;
use messaging::queue::Queue;
use proto::Message as _;
use proto::command::v1::deliver_response::Outcome;
use proto::command::v1::{DeliverRequest, DeliverResponse, GetReceiptResponse, Receipt, State};
use proto::registration::v1::ListSigningKeysResponse;
use secrecy::ExposeSecret as _;
use serve::raw::Raw;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::{Status, transport::Server};
use tower::{Service, ServiceExt as _};

use super::super::{id, requests::public};

thread_local! {
    pub(super) static WORLD: World = World::new();
}

const NOW: Micros = Micros(1_700_000_000_000_000);
const DOMAINS: [&str; 4] = ["billing", "order", "registration", "user"];

/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";

pub(super) struct World {
    runtime: Runtime,
    gateway: Mutex<Gateway>,
    owner: Owner,
    /// The full names of what can be called.
    pub(super) methods: Vec<String>,
    /// A good one.
    pub(super) token: String,
}

type Gateway = tower::util::BoxCloneService<Request<Body>, Response<Body>, String>;

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let master: MasterKey = "07".repeat(32).parse().unwrap();
        let verifiers = DOMAINS.map(|domain| (domain.to_owned(), Verifier::new(master.owner(domain))));
        let owner = Owner {
            key: key.clone(),
            verifiers: Arc::new(verifiers.into()),
            wrong: Arc::default(),
            came: Arc::default(),
        };
        let gateway = runtime.block_on(async {
            let endpoint = owner.clone().start();
            let service = gateway::service(config(&endpoint), deps(&master).await).await.unwrap();
            service.map_response(|answer| answer.map(Body::new)).map_err(|error| format!("{error:?}")).boxed_clone()
        });
        let methods = public(&Schema::embedded().unwrap()).into_iter().map(|method| method.name).collect();
        Self { runtime, gateway: Mutex::new(gateway), owner, methods, token: token(key) }
    }

    /// The methods whose owner was called.
    #[cfg(test)]
    pub(super) fn came(&self) -> BTreeSet<String> {
        self.owner.came.lock().unwrap().clone()
    }

    /// The gateway's answer, to its last byte.
    pub(super) fn call(&self, request: Request<Body>) -> Response<Vec<u8>> {
        let mut gateway = self.gateway.lock().unwrap().clone();
        let answer = self.runtime.block_on(async {
            let (head, body) = gateway.ready().await.unwrap().call(request).await.unwrap().into_parts();
            // A body that breaks off is for the client to judge: there is none.
            let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            Response::from_parts(head, body)
        });
        assert_eq!(self.owner.wrong.lock().unwrap().take(), None, "what came through to its owner");
        answer
    }
}

fn config(endpoint: &str) -> Config {
    // Nothing here is slow: an answer that takes longer is none.
    let patience = Duration::from_secs(2);
    let unlimited = gateway::Rate { per_second: 0, burst: 0 };
    let limits = Limits {
        deadline_default: patience,
        deadline_max: patience,
        per_principal: unlimited,
        attempts_per_address: unlimited,
        per_address: unlimited,
        ..Limits::default()
    };
    Config {
        namespace: "ns".to_owned(),
        endpoints: DOMAINS.map(|domain| (domain.to_owned(), endpoint.to_owned())).into(),
        descriptors: Vec::new(),
        allowed_origins: vec!["*".to_owned()],
        tls: None,
        onward_tls: None,
        limits,
    }
}

async fn deps(master: &MasterKey) -> Deps {
    let broker = Broker { url: format!("nats://{NOWHERE}"), namespace: "ns".to_owned(), replicas: 1 };
    let client = messaging::connect(&broker, "gateway").await.unwrap();
    let (queue, replies) = Queue::open(client, &broker).await.unwrap();
    let pair = |domain: &str| (domain.to_owned(), master.owner(domain).pair("gateway"));
    let sealer = Sealer::new("gateway", DOMAINS.map(pair));
    Deps { sealer, queue, replies, now: Arc::new(|| NOW), chance: Arc::new(|| [7; 10]) }
}

fn token(key: SigningKey) -> String {
    let expires_at = NOW.plus(Duration::from_hours(1));
    let claims = Claims { user: id(1), session: id(2), roles: vec![STAFF.to_owned()], issued_at: NOW, expires_at };
    Issuer::new(key).issue(&claims).unwrap().expose_secret().to_owned()
}

/// Answers everything, and notes what should not have come.
#[derive(Clone)]
struct Owner {
    key: SigningKey,
    verifiers: Arc<BTreeMap<String, Verifier>>,
    wrong: Arc<Mutex<Option<String>>>,
    /// The methods of what came sealed.
    came: Arc<Mutex<BTreeSet<String>>>,
}

impl Owner {
    fn start(self) -> String {
        let (incoming, address) = serve::transport::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let service = tower::service_fn(move |request: Request<_>| {
            let owner = self.clone();
            async move { Ok::<_, Infallible>(owner.serve(request.map(Body::new)).await) }
        });
        let mut routes = Routes::default();
        let router = std::mem::take(routes.axum_router_mut()).fallback_service(service);
        tokio::spawn(Server::builder().add_routes(Routes::from(router)).serve_with_incoming(incoming));
        format!("http://{address}")
    }

    async fn serve(self, request: Request<Body>) -> Response<Body> {
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let once = tower::service_fn(move |request: tonic::Request<Bytes>| {
            let answer = self.answer(&method, &request);
            if let Err(status) = &answer {
                *self.wrong.lock().unwrap() = Some(format!("{method}: {status}"));
            }
            std::future::ready(answer.map(tonic::Response::new))
        });
        Grpc::new(Raw).unary(once, request).await
    }

    fn answer(&self, method: &str, request: &tonic::Request<Bytes>) -> Result<Bytes, Status> {
        let body = request.get_ref();
        match method.rsplit('/').next() {
            Some("ListSigningKeys") => {
                let public_key = self.key.public_key().to_vec().into();
                let key = proto::registration::v1::SigningKey { key_id: self.key.key_id(), public_key };
                Ok(ListSigningKeysResponse { keys: vec![key] }.encode_to_vec().into())
            }
            Some("Deliver") => self.deliver(body),
            Some("GetReceipt") => {
                self.verify(request, method)?;
                Ok(GetReceiptResponse::default().encode_to_vec().into())
            }
            _ => self.verify(request, method).map(|()| Bytes::new()),
        }
    }

    fn deliver(&self, body: &Bytes) -> Result<Bytes, Status> {
        let wrong = |what: String| Status::internal(what);
        let command = DeliverRequest::decode(body.clone()).map_err(|error| wrong(error.to_string()))?;
        let sealed = seal::from_bytes(&command.seal).map_err(|error| wrong(error.to_string()))?;
        let good = self.verifiers.values().any(|one| one.verify(&sealed, &command.method, &command.body).is_ok());
        if !good {
            return Err(wrong(format!("the seal on {} is not good", command.method)));
        }
        self.came.lock().unwrap().insert(command.method);
        let receipt = Receipt { state: State::Completed.into(), ..Receipt::default() };
        let outcome = Some(Outcome::Response(Bytes::new()));
        Ok(DeliverResponse { receipt: Some(receipt), outcome }.encode_to_vec().into())
    }

    fn verify(&self, request: &tonic::Request<Bytes>, method: &str) -> Result<(), Status> {
        let text = request.metadata().get("millrace-seal").and_then(|text| text.to_str().ok()).unwrap_or_default();
        let sealed = seal::from_text(text).map_err(|error| Status::internal(error.to_string()))?;
        let good = self.verifiers.values().any(|one| one.verify(&sealed, method, request.get_ref()).is_ok());
        if !good {
            return Err(Status::internal("the seal is not good"));
        }
        self.came.lock().unwrap().insert(method.to_owned());
        Ok(())
    }
}

/// A body that comes in pieces.
pub(super) struct Pieces(std::vec::IntoIter<Bytes>);

impl Pieces {
    pub(super) fn of(body: &[u8], length: usize) -> Self {
        Self(body.chunks(length).map(Bytes::copy_from_slice).collect::<Vec<_>>().into_iter())
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
