//! The spans that cross a border, named after OpenTelemetry's conventions for RPC and messaging. Their names are few: methods and templates,
//! never ids. What they are about is in their attributes: `millrace.key` names the aggregate, `millrace.command_id` the command that set it
//! off, `millrace.attempt` says that it was tried before, and `millrace.outcome` what became of it.
//!
//! A span that somebody else's context continues is given to [`follow`](crate::follow) before it is entered.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use tonic::Code;
use tracing::field::{Empty, display};
use tracing::{Span, info_span};

/// Nobody keeps spans.
static UNSEEN: AtomicBool = AtomicBool::new(false);

/// Says that nobody in this process keeps or exports spans: from now on messages' spans have an identity, and what log lines say of them,
/// but no further attributes. A dozen texts for each message would cost as much as the message.
pub fn nobody_looks() {
    UNSEEN.store(true, Ordering::Relaxed);
}

/// Whether spans are seen by anybody.
pub fn somebody_looks() -> bool {
    !UNSEEN.load(Ordering::Relaxed)
}

/// A message's span that nobody sees: what it is about, for log lines and for those who come after.
pub fn unseen(command_id: Option<impl Display>, key: Option<impl Display>) -> Span {
    info_span!(
        target: "millrace",
        "message",
        "millrace.key" = key.map(display),
        "millrace.command_id" = command_id.map(display),
        "millrace.outcome" = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

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
        "millrace.key" = Empty,
        "millrace.command_id" = Empty,
        "millrace.attempt" = Empty,
        "millrace.outcome" = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// A call that is being made, to a server such as `http://order:7403`.
pub fn rpc_client(method: &str, server: &str) -> Span {
    let (address, port) = address_and_port(server);
    info_span!(
        target: "millrace",
        "onward call",
        otel.name = method,
        otel.kind = "client",
        "rpc.system.name" = "grpc",
        "rpc.method" = method,
        "rpc.status_code" = Empty,
        "server.address" = address,
        "server.port" = port,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// An event or a command, as the broker carries it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'m> {
    /// Its subject without the id, and below the namespace that stands for any.
    pub template: &'m str,
    /// Its whole subject.
    pub subject: &'m str,
    /// The `Nats-Msg-Id`, or a command's id.
    pub id: &'m str,
    /// The command that set it off, however indirectly.
    pub command_id: Option<&'m str>,
    /// The aggregate that it is about; None if that is found out later ([`record_key`]).
    pub key: Option<&'m str>,
}

/// Where the broker had a message, and how often it has brought it.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'d> {
    /// The broker's address, such as `nats://nats:4222`.
    pub server: &'d str,
    pub stream: &'d str,
    pub sequence: u64,
    pub times: u64,
}

/// A message that is being published, to a broker such as `nats://nats:4222`.
pub fn publish(message: &Message<'_>, server: &str) -> Span {
    let Message { template, subject, id, command_id, key } = *message;
    let (address, port) = address_and_port(server);
    info_span!(
        target: "millrace",
        "publish",
        otel.name = format_args!("publish {template}"),
        otel.kind = "producer",
        "messaging.system" = "nats",
        "messaging.operation.name" = "publish",
        "messaging.operation.type" = "send",
        "messaging.destination.template" = template,
        "messaging.destination.name" = subject,
        "messaging.message.id" = id,
        "messaging.message.conversation_id" = command_id,
        "server.address" = address,
        "server.port" = port,
        "millrace.key" = key,
        "millrace.command_id" = command_id,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// A message that is being judged and applied. `group` is the durable consumer. What was not delivered was read from its owner's log.
pub fn process(message: &Message<'_>, group: &str, delivered: Option<Delivered<'_>>) -> Span {
    let Message { template, subject, id, command_id, key } = *message;
    let (address, port) = delivered.map_or((None, None), |delivered| address_and_port(delivered.server));
    info_span!(
        target: "millrace",
        "process",
        otel.name = format_args!("process {template}"),
        otel.kind = "consumer",
        "messaging.system" = "nats",
        "messaging.operation.name" = "process",
        "messaging.operation.type" = "process",
        "messaging.destination.template" = template,
        "messaging.destination.name" = subject,
        "messaging.consumer.group.name" = group,
        "messaging.message.id" = id,
        "messaging.message.conversation_id" = command_id,
        "server.address" = address,
        "server.port" = port,
        "messaging.nats.stream" = delivered.map(|delivered| delivered.stream),
        "messaging.nats.sequence" = delivered.map(|delivered| delivered.sequence),
        "millrace.delivered" = delivered.map(|delivered| delivered.times),
        "millrace.key" = key,
        "millrace.command_id" = command_id,
        "millrace.attempt" = Empty,
        "millrace.outcome" = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// An act on the world outside, such as a charge. `kind` is the effect's.
pub fn effect(kind: &str, key: &str, command_id: Option<&str>) -> Span {
    info_span!(
        target: "millrace",
        "effect",
        otel.name = format_args!("effect {kind}"),
        otel.kind = "client",
        "millrace.effect.kind" = kind,
        "millrace.key" = key,
        "millrace.command_id" = command_id,
        "millrace.attempt" = Empty,
        "millrace.outcome" = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// A command that FAILED, and that an operator has driven again.
pub fn redrive(method: &str, command_id: &str) -> Span {
    info_span!(
        target: "millrace",
        "redrive",
        otel.name = format_args!("redrive {method}"),
        otel.kind = "internal",
        "rpc.method" = method,
        "millrace.key" = Empty,
        "millrace.command_id" = command_id,
        "millrace.attempt" = Empty,
        "millrace.outcome" = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// What comes of time that has passed. `name` is the timer's.
pub fn timer(name: &str, key: &str, command_id: Option<&str>) -> Span {
    info_span!(
        target: "millrace",
        "timer",
        otel.name = format_args!("timer {name}"),
        otel.kind = "internal",
        "millrace.timer.name" = name,
        "millrace.key" = key,
        "millrace.command_id" = command_id,
        "millrace.attempt" = Empty,
        "millrace.outcome" = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// Records that this is a further attempt, and which: 2 is the second.
pub fn record_attempt(span: &Span, number: i64) {
    if number > 1 {
        span.record("millrace.attempt", number);
    }
}

/// Records which command an answered call is about.
pub fn record_command(span: &Span, id: impl Display) {
    span.record("millrace.command_id", display(id));
}

/// Records which aggregate a span is about, if that was not known when it began.
pub fn record_key(span: &Span, key: impl Display) {
    span.record("millrace.key", display(key));
}

/// Records what became of what was processed, in one of few words.
pub fn record_outcome(span: &Span, outcome: &str) {
    span.record("millrace.outcome", outcome);
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

/// Of `scheme://host:port`. Nothing, if there are several, and never who logs in there.
fn address_and_port(server: &str) -> (Option<&str>, Option<u16>) {
    let place = server.split_once("://").filter(|_| !server.contains(',')).map(|(_, place)| place);
    let place = place.and_then(|place| place.trim_end_matches('/').rsplit('@').next()?.rsplit_once(':'));
    place.map_or((None, None), |(address, port)| (Some(address), port.parse().ok()))
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
