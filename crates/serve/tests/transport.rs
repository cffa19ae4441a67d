//! Servers and channels: what passes, what is refused, and what happens when the other side is away.

#![cfg(test)]

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use millrace_serve::raw::Raw;
use millrace_serve::transport::{self, Error, Limits, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{NamedService, UnaryService};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tower::Service;

static LARGE: [u8; 1 << 20] = [7; 1 << 20];

/// Answers every call with what it brought.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async { Ok(tonic::server::Grpc::new(Raw).unary(Same, request).await) })
    }
}

struct Same;

impl UnaryService<Bytes> for Same {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A server that echoes, until the test ends.
fn serve(tls: Option<&Tls>) -> SocketAddr {
    let (incoming, address) = transport::bind(any_port()).unwrap();
    let mut server = transport::server(&Limits::INTERNAL, tls).unwrap();
    tokio::spawn(server.add_service(Echo).serve_with_incoming(incoming));
    address
}

async fn echo(channel: &Channel, bytes: &'static [u8]) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/test.Echo/Any");
    Ok(client.unary(Request::new(Bytes::from_static(bytes)), path, Raw).await?.into_inner())
}

#[tokio::test]
async fn bytes_pass_through_as_they_are() {
    let channel = transport::channel(&format!("http://{}", serve(None)), None).unwrap();
    for bytes in [b"".as_slice(), b"\xff\x00 not protobuf", &LARGE] {
        assert_eq!(echo(&channel, bytes).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (_incoming, address) = transport::bind(any_port()).unwrap();
    let error = transport::bind(address).err().unwrap();
    assert_eq!(error.to_string(), format!("the address {address} is taken: another process listens there"));
}

#[tokio::test]
async fn what_is_no_endpoint_is_named() {
    for endpoint in ["", "order", "order:7000", "ftp://order:7000", "unix:/tmp/order", "http://"] {
        assert!(
            matches!(transport::channel(endpoint, None), Err(Error::Endpoint(named)) if named == endpoint),
            "{endpoint}"
        );
    }
    assert!(matches!(transport::channel("https://order:7000", None), Err(Error::NoAuthority(_))));
}

#[tokio::test]
async fn calls_to_a_peer_that_hangs_up_do_not_hammer_it() {
    let listener = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let channel = transport::channel(&format!("http://{address}"), None).unwrap();
    for _ in 0..1000 {
        // UNAVAILABLE if it was not sent; CANCELLED or UNKNOWN if the connection went away under it.
        assert!(echo(&channel, b"").await.is_err());
    }
    let connections = connections.load(Ordering::Relaxed);
    assert!((1..=30).contains(&connections), "{connections} connections for 1000 calls");
}

#[tokio::test]
async fn a_peer_that_comes_late_is_found() {
    let (incoming, address) = transport::bind(any_port()).unwrap();
    drop(incoming);
    let channel = transport::channel(&format!("http://{address}"), None).unwrap();
    assert_eq!(echo(&channel, b"").await.unwrap_err().code(), Code::Unavailable);

    let (incoming, _) = transport::bind(address).unwrap();
    let mut server = transport::server(&Limits::INTERNAL, None).unwrap();
    tokio::spawn(server.add_service(Echo).serve_with_incoming(incoming));
    let found = async { while echo(&channel, b"here").await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), found).await.unwrap();
}

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// What someone with a certificate of ours uses, who trusts us alone.
    fn tls(&self) -> Tls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        self.trusting().identity(certificate.pem(), key.serialize_pem())
    }

    /// What someone without a certificate uses, who trusts us alone.
    fn trusting(&self) -> Tls {
        Tls::default().authority(self.0.pem())
    }
}

async fn echo_over(server: &Tls, caller: &Tls) -> Result<Bytes, Status> {
    let channel = transport::channel(&format!("https://{}", serve(Some(server))), Some(caller)).unwrap();
    echo(&channel, b"secret").await
}

#[tokio::test]
async fn tls_is_mutual_where_both_have_certificates_of_one_authority() {
    let (ours, others) = (Authority::new(), Authority::new());
    assert_eq!(echo_over(&ours.tls(), &ours.tls()).await.unwrap(), "secret");
    // The server asks for a certificate.
    assert!(echo_over(&ours.tls(), &ours.trusting()).await.is_err());
    // Neither takes a stranger's.
    assert!(echo_over(&ours.tls(), &others.tls()).await.is_err());
    let stranger = others.tls().authority(ours.0.pem());
    assert!(echo_over(&ours.tls(), &stranger).await.is_err());
}

#[tokio::test]
async fn a_server_cannot_use_tls_without_a_certificate() {
    assert!(matches!(transport::server(&Limits::EDGE, Some(&Tls::default())), Err(Error::NoIdentity)));
    let missing = Tls::default().read_authority(Path::new("/nowhere/ca.pem")).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read /nowhere/ca.pem: "), "{missing}");
}

#[test]
fn a_private_key_does_not_show_when_it_is_printed() {
    let printed = format!("{:?}", Tls::default().identity("certificate", "very private"));
    assert_eq!(printed, "Tls { identity: true, authority: false, .. }");
}
