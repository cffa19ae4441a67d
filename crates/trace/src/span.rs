//! The spans that cross a border, named after OpenTelemetry's conventions for RPC and messaging. Their names are few: methods and templates,
//! never ids.
//!
//! A span that somebody else's context continues is given to [`follow`](crate::follow) before it is entered.

use tonic::Code;
use tracing::field::Empty;
use tracing::{Span, info_span};

/// A call that is being answered. `method` is the full name, `<package>.<Service>/<Method>`; for one that nobody knows it is `_OTHER`,
/// because a client may invent as many as it likes.
pub fn rpc_server(method: &str) -> Span {
    info_span!(
        target: "millrace",
        "call",
        otel.name = method,
        otel.kind = "server",
        "rpc.system.name" = "grpc",
        "rpc.method" = method,
        "rpc.status_code" = Empty,
        "network.peer.address" = Empty,
        "network.peer.port" = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// A call that is being made. Whoever knows the address records `server.address` and `server.port`.
pub fn rpc_client(method: &str) -> Span {
    info_span!(
        target: "millrace",
        "onward call",
        otel.name = method,
        otel.kind = "client",
        "rpc.system.name" = "grpc",
        "rpc.method" = method,
        "rpc.status_code" = Empty,
        "server.address" = Empty,
        "server.port" = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// An event or a command that is being published. `template` is the subject without the id, `message_id` the `Nats-Msg-Id`, or a command's
/// id.
pub fn publish(template: &str, message_id: &str) -> Span {
    info_span!(
        target: "millrace",
        "publish",
        otel.name = format_args!("publish {template}"),
        otel.kind = "producer",
        "messaging.system" = "nats",
        "messaging.operation.name" = "publish",
        "messaging.operation.type" = "send",
        "messaging.destination.template" = template,
        "messaging.message.id" = message_id,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// An event or a command that is being judged and applied. `group` is the durable consumer.
pub fn process(template: &str, group: &str, message_id: &str) -> Span {
    info_span!(
        target: "millrace",
        "process",
        otel.name = format_args!("process {template}"),
        otel.kind = "consumer",
        "messaging.system" = "nats",
        "messaging.operation.name" = "process",
        "messaging.operation.type" = "process",
        "messaging.destination.template" = template,
        "messaging.consumer.group.name" = group,
        "messaging.message.id" = message_id,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// An act on the world outside, such as a charge. `kind` is the effect's.
pub fn effect(kind: &str) -> Span {
    info_span!(
        target: "millrace",
        "effect",
        otel.name = format_args!("effect {kind}"),
        otel.kind = "client",
        "millrace.effect.kind" = kind,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// Records how an answered call ended. What the client did wrong is no error of the server.
pub fn record_server(span: &Span, code: Code) {
    let ours =
        [Code::Unknown, Code::DeadlineExceeded, Code::Unimplemented, Code::Internal, Code::Unavailable, Code::DataLoss];
    record_status(span, code, ours.contains(&code));
}

/// Records how a made call ended. To its caller everything but OK is an error.
pub fn record_client(span: &Span, code: Code) {
    record_status(span, code, code != Code::Ok);
}

/// Records that publishing or processing failed. `error` is one of few words, never a message.
pub fn record_failure(span: &Span, error: &str) {
    span.record("error.type", error);
    span.record("otel.status_code", "ERROR");
}

fn record_status(span: &Span, code: Code, failed: bool) {
    span.record("rpc.status_code", code_name(code));
    if failed {
        record_failure(span, code_name(code));
    }
}

/// The code's name as gRPC writes it, such as `NOT_FOUND`.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
