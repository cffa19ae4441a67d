//! A page's side of gRPC-Web: plain HTTP/1.1, by hand, with no gRPC library.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use millrace::Role;
use prost::Message;
use proto::rpc::ErrorInfo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::shop::TestShop;

/// A page's connection: whether its messages travel as bytes or as text, and the headers it adds.
pub(crate) struct Page<'s> {
    pub(crate) shop: &'s TestShop,
    pub(crate) as_text: bool,
    pub(crate) headers: String,
}

/// What came back: the messages, and how the call ended, by name in lower case.
pub(crate) struct Answer {
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Page<'_> {
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        Self { headers: format!("{}{name}: {value}\r\n", self.headers), ..*self }
    }

    pub(crate) async fn call(&self, method: &str, request: &impl Message) -> Answer {
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0][..], &length, &message].concat();
        let (kind, body) = if self.as_text {
            ("application/grpc-web-text+proto", STANDARD.encode(frame).into_bytes())
        } else {
            ("application/grpc-web+proto", frame)
        };
        let head = format!(
            "POST /{method} HTTP/1.1\r\ncontent-type: {kind}\r\naccept: {kind}\r\nx-grpc-web: 1\r\n{}",
            self.headers
        );
        let (head, body) = http(self.shop, &head, &body).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
        Answer::read(&head, &if self.as_text { from_text(&body) } else { body })
    }

    pub(crate) async fn ask<R: Message + Default>(&self, method: &str, request: &impl Message) -> R {
        let answer = self.call(method, request).await;
        assert_eq!(answer.trailer("grpc-status"), Some("0"), "{method}: {:?}", answer.trailers);
        let [message] = answer.messages.as_slice() else { panic!("{} messages", answer.messages.len()) };
        R::decode(message.as_slice()).unwrap()
    }
}

impl Answer {
    /// An answer that is refused at once has its trailers among its headers.
    fn read(head: &str, mut body: &[u8]) -> Self {
        let mut answer = Self { messages: Vec::new(), trailers: lines(head).collect() };
        while let Some((frame, rest)) = body.split_first_chunk::<5>() {
            let [kind, length @ ..] = *frame;
            let (content, rest) = rest.split_at(u32::from_be_bytes(length) as usize);
            if kind & 0x80 == 0 {
                answer.messages.push(content.to_vec());
            } else {
                answer.trailers.extend(lines(str::from_utf8(content).unwrap()));
            }
            body = rest;
        }
        assert!(body.is_empty(), "a frame is cut short: {body:?}");
        answer
    }

    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Why the call was refused.
    pub(crate) fn reason(&self) -> String {
        let details = self.trailer("grpc-status-details-bin").unwrap();
        let details = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).unwrap();
        let status = proto::rpc::Status::decode(details.as_slice()).unwrap();
        ErrorInfo::decode(status.details[0].value.as_slice()).unwrap().reason
    }
}

pub(crate) fn lines(text: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
}

/// Text comes in pieces, each padded for itself.
fn from_text(body: &[u8]) -> Vec<u8> {
    body.chunks(4).flat_map(|piece| STANDARD.decode(piece).unwrap()).collect()
}

/// The head of an answer, in lower case but for what is in base64, and its body.
pub(crate) async fn http(shop: &TestShop, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let address = shop.address(Role::Gateway);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}host: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().replacen("HTTP", "http", 1);
    let body = &answer[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_vec() };
    (head, body)
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}
