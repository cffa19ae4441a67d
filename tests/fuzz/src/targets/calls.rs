//! Calls, as the gateway takes them in once their connection's frames are read: gRPC and gRPC-Web, with whatever headers. Behind it is an
//! owner of everything, which verifies the seal of whatever comes through.
//!
//! An input has a byte for the method, one for the way, three headers (each with its length before it), and the body, in one piece or in many.

mod world;

use http::{HeaderValue, Request, Response, Version, header};
use tonic::body::Body;
use tonic::{Code, Status};

use super::refusals::is_for_clients;
use super::requests::request;
use crate::Target;
use crate::targets::{given, id, take};
use world::WORLD;

pub(crate) const TARGET: Target = Target { name: "calls", seeds, feed, short: 1_500 };

/// How a call comes.
const KINDS: [&str; 4] =
    ["application/grpc", "application/grpc-web+proto", "application/grpc-web-text+proto", "text/html"];

/// In the byte for the way: beside the kind, whether the call has a good token, and whether its body comes in pieces.
const WITH_TOKEN: u8 = 4;
const IN_PIECES: u8 = 8;

const HEADERS: [&str; 3] = ["idempotency-key", "consistency-token", "grpc-timeout"];

fn feed(mut input: &[u8]) {
    let Some(([number, way], rest)) = input.split_first_chunk::<2>().map(|(two, rest)| (*two, rest)) else { return };
    input = rest;
    WORLD.with(|world| {
        let method = &world.methods[usize::from(number) % world.methods.len()];
        let kind = KINDS[usize::from(way % 4)];
        // Only gRPC-Web comes over HTTP/1.1.
        let version = if way % 4 == 0 { Version::HTTP_2 } else { Version::HTTP_11 };
        let mut call =
            Request::post(format!("http://shop/{method}")).version(version).header(header::CONTENT_TYPE, kind);
        if way & WITH_TOKEN > 0 {
            call = call.header(header::AUTHORIZATION, format!("Bearer {}", world.token));
        }
        for name in HEADERS {
            let value = HeaderValue::from_bytes(take(&mut input)).ok().filter(|value| !value.is_empty());
            call = value.into_iter().fold(call, |call, value| call.header(name, value));
        }
        let piece = if way & IN_PIECES > 0 { 3 } else { input.len().max(1) };
        let body = world::Pieces::of(input, piece);
        let answer = world.call(call.body(Body::new(body)).unwrap());
        judge(kind, &answer);
    });
}

/// Whatever was sent, the answer is a gRPC answer with a reason, or says that the request was none.
fn judge(kind: &str, answer: &Response<Vec<u8>>) {
    let is_grpc = kind.starts_with("application/grpc");
    if !answer.status().is_success() {
        assert!(answer.status().is_client_error(), "{answer:?}");
        return;
    }
    if !is_grpc {
        return;
    }
    let Some(status) = Status::from_header_map(answer.headers()) else { return };
    if status.code() != Code::Ok {
        assert!(is_for_clients(status.details()), "a client is not told why: {status:?}");
        assert_ne!(status.code(), Code::Internal, "{status:?}");
        assert_ne!(status.code(), Code::Unknown, "{status:?}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let frame = |message: &[u8]| [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    let headers = [&b"key"[..], b"", b"1S"].map(given).concat();
    let methods = super::requests::public(&event::Schema::embedded().unwrap());
    let (mut seeds, mut get_order) = (Vec::new(), 0);
    for (number, method) in (0..).zip(&methods) {
        if method.name.ends_with("/GetOrder") {
            get_order = number;
        }
        let frame = frame(&request(&method.name));
        seeds.push([&[number, (number % 2) | WITH_TOKEN], headers.as_slice(), &frame].concat());
    }
    let frame = frame(&request("GetOrder"));
    let text = world::base64(&frame);
    seeds.push([&[get_order, 2 | WITH_TOKEN | IN_PIECES], headers.as_slice(), text.as_bytes()].concat());
    let token = event::ConsistencyToken::of_command(&format!("order.place-order/{}", id(1))).to_string();
    let headers = [b"", token.as_bytes(), b"99999999H"].map(given).concat();
    seeds.push([&[get_order, WITH_TOKEN], headers.as_slice(), &frame].concat());
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else nothing would be fed but the gateway's refusals.
    #[test]
    fn good_calls_come_through_to_their_owners_either_way() {
        for seed in seeds() {
            feed(&seed);
        }
        let came = WORLD.with(world::World::came);
        for method in ["PlaceOrder", "CancelOrder", "GetOrder", "ListOrders", "WatchOrder", "Register", "UpdateProfile"]
        {
            assert!(came.iter().any(|one| one.ends_with(&format!("/{method}"))), "{method} is not among {came:?}");
        }
    }
}
