//! What the proto files say of methods, events and fields, read once from a descriptor set. The gateway and the services know nothing else
//! of an RPC.

use std::collections::BTreeMap;

use fault::{Protection, without};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor, Value};

use crate::subject::{domain_of, kebab};

/// All methods and events of a descriptor set.
#[derive(Clone, Debug)]
pub struct Schema {
    pool: DescriptorPool,
    methods: BTreeMap<String, Method>,
    events: BTreeMap<String, EventKind>,
}

/// What is known of an RPC.
#[derive(Clone, Debug)]
pub struct Method {
    /// `millrace.order.v1.OrderService/PlaceOrder`, as in the seal and in spans.
    pub name: String,
    pub domain: String,
    /// `place-order`, as in subjects and in commands' names.
    pub kebab: String,
    pub kind: Kind,
    pub access: Access,
    pub delivery: Delivery,
    /// The path of the request field that names the aggregate; empty: the command's own id.
    pub key: String,
    /// The path of the request field that names the service to ask, where every service answers; empty: the one of its domain.
    pub service: String,
    pub input: MessageDescriptor,
    pub output: MessageDescriptor,
}

/// Whether an RPC changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Command,
    Query,
    /// A query that goes on answering.
    Stream,
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Internal,
    Anonymous,
    User,
    Staff,
}

/// How a command travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Durable,
    Direct,
}

/// What is known of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKind {
    /// The full protobuf name.
    pub type_name: String,
    pub domain: String,
    pub aggregate: String,
    pub kebab: String,
}

/// Why a descriptor set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the descriptor set cannot be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error("the descriptor set lacks millrace/options/v1/options.proto")]
    NoOptions,
    #[error("{method}: a client may not stream to us (gRPC-Web cannot)")]
    ClientStreaming { method: String },
    #[error("{method}: a command answers once")]
    StreamingCommand { method: String },
    #[error("{method}: a command that anybody may call must be DIRECT, because it keeps no receipt")]
    AnonymousDurable { method: String },
    #[error("{method}: the request has no text field `{path}` to take the key or the service from")]
    NoKey { method: String, path: String },
}

impl Schema {
    /// The schema of the protos that this binary was built with.
    pub fn embedded() -> Result<Self, SchemaError> {
        Self::decode(&[proto::DESCRIPTORS])
    }

    /// The schema of several encoded descriptor sets, so that a gateway need not be as new as its services. Of files of one name that of the
    /// last set counts; each set but the first comes with its imports.
    pub fn decode(sets: &[&[u8]]) -> Result<Self, SchemaError> {
        let mut pool = DescriptorPool::new();
        // The pool keeps the file that it meets first.
        for set in sets.iter().rev() {
            pool.decode_file_descriptor_set(*set)?;
        }
        let rpc = pool.get_extension_by_name("millrace.options.v1.rpc").ok_or(SchemaError::NoOptions)?;
        let event = pool.get_extension_by_name("millrace.options.v1.event").ok_or(SchemaError::NoOptions)?;
        let mut methods = BTreeMap::new();
        for descriptor in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let options = descriptor.options();
            let value = options.get_extension(&rpc);
            let method = Method::read(&descriptor, value.as_message())?;
            methods.insert(method.name.clone(), method);
        }
        let mut events = BTreeMap::new();
        for message in pool.all_messages() {
            let options = message.options();
            if options.has_extension(&event) {
                let kind = EventKind::read(&message, options.get_extension(&event).as_message());
                events.insert(kind.type_name.clone(), kind);
            }
        }
        Ok(Self { pool, methods, events })
    }

    pub const fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// A method by its full name, without a leading slash.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.get(name)
    }

    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values()
    }

    /// The method that takes this message; there is one at most, because each RPC has a request of its own.
    pub fn method_taking(&self, request: &str) -> Option<&Method> {
        self.methods.values().find(|method| method.input.full_name() == request)
    }

    pub fn events(&self) -> impl Iterator<Item = &EventKind> {
        self.events.values()
    }

    /// Who owns the aggregates of this kind.
    pub fn domain_of_aggregate(&self, aggregate: &str) -> Option<&str> {
        self.events().find(|kind| kind.aggregate == aggregate).map(|kind| kind.domain.as_str())
    }

    pub fn event(&self, type_name: &str) -> Option<&EventKind> {
        self.events.get(type_name)
    }
}

impl Method {
    fn read(descriptor: &MethodDescriptor, rpc: Option<&DynamicMessage>) -> Result<Self, SchemaError> {
        let name = format!("{}/{}", descriptor.parent_service().full_name(), descriptor.name());
        let query =
            descriptor.options().get_field_by_name("idempotency_level").and_then(|v| v.as_enum_number()) == Some(1);
        let number = |field: &str| rpc.and_then(|rpc| rpc.get_field_by_name(field)?.as_enum_number()).unwrap_or(0);
        let text = |field: &str| rpc.and_then(|rpc| rpc.get_field_by_name(field)?.as_str().map(str::to_owned));
        let method = Self {
            domain: domain_of(&name).to_owned(),
            kebab: kebab(&name),
            kind: match (query, descriptor.is_server_streaming()) {
                (false, false) => Kind::Command,
                (true, false) => Kind::Query,
                (true, true) => Kind::Stream,
                (false, true) => return Err(SchemaError::StreamingCommand { method: name }),
            },
            access: match number("access") {
                2 => Access::Anonymous,
                3 => Access::User,
                4 => Access::Staff,
                _ if without(Protection::DenyByDefault) => Access::User,
                _ => Access::Internal,
            },
            delivery: if number("delivery") == 2 { Delivery::Direct } else { Delivery::Durable },
            key: text("key").unwrap_or_default(),
            service: text("service").unwrap_or_default(),
            input: descriptor.input(),
            output: descriptor.output(),
            name,
        };
        method.check(descriptor)
    }

    fn check(self, descriptor: &MethodDescriptor) -> Result<Self, SchemaError> {
        if descriptor.is_client_streaming() {
            return Err(SchemaError::ClientStreaming { method: self.name });
        }
        let durable_command = self.kind == Kind::Command && self.delivery == Delivery::Durable;
        if self.access == Access::Anonymous && durable_command {
            return Err(SchemaError::AnonymousDurable { method: self.name });
        }
        let not_text = |path: &&String| !path.is_empty() && !self.is_text(path);
        let wrong = [&self.key, &self.service].into_iter().find(not_text).cloned();
        match wrong {
            Some(path) => Err(SchemaError::NoKey { method: self.name, path }),
            None => Ok(self),
        }
    }

    fn is_text(&self, path: &str) -> bool {
        let mut message = Some(self.input.clone());
        let mut text = false;
        for name in path.split('.') {
            let Some(field) = message.as_ref().and_then(|message| message.get_field_by_name(name)) else {
                return false;
            };
            text = field.kind() == prost_reflect::Kind::String;
            message = field.kind().as_message().cloned();
        }
        text
    }

    /// The text in the field that names the aggregate; empty if the command has none, or leaves it empty.
    pub fn key_in(&self, request: &DynamicMessage) -> String {
        text_in(request, &self.key)
    }

    /// The service that the request names; empty if the method is one of its domain alone.
    pub fn service_in(&self, request: &DynamicMessage) -> String {
        text_in(request, &self.service)
    }
}

fn text_in(request: &DynamicMessage, path: &str) -> String {
    let mut names = path.split('.').peekable();
    let mut message = request.clone();
    while let Some(name) = names.next() {
        let Some(value) = message.get_field_by_name(name).map(std::borrow::Cow::into_owned) else { break };
        match value {
            Value::String(text) if names.peek().is_none() => return text,
            Value::Message(inner) => message = inner,
            _ => break,
        }
    }
    String::new()
}

impl EventKind {
    fn read(message: &MessageDescriptor, option: Option<&DynamicMessage>) -> Self {
        let aggregate = option.and_then(|option| option.get_field_by_name("aggregate")?.as_str().map(str::to_owned));
        Self {
            type_name: message.full_name().to_owned(),
            domain: domain_of(message.full_name()).to_owned(),
            aggregate: aggregate.unwrap_or_default(),
            kebab: kebab(message.full_name()),
        }
    }
}

/// Whether a field holds a secret: protobuf's own `debug_redact`.
pub fn is_secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|value| *value == Value::Bool(true))
}

/// Whether a field tells something about a person.
pub fn is_personal(field: &FieldDescriptor) -> bool {
    let personal = field.parent_pool().get_extension_by_name("millrace.options.v1.personal");
    personal.is_some_and(|personal| *field.options().get_extension(&personal) == Value::Bool(true))
}

/// The paths of the fields, at any depth, for which `test` holds. Messages that contain themselves are visited once.
pub fn hidden_fields(message: &MessageDescriptor, test: fn(&FieldDescriptor) -> bool) -> Vec<String> {
    fn visit(
        message: &MessageDescriptor,
        test: fn(&FieldDescriptor) -> bool,
        seen: &mut Vec<String>,
        found: &mut Vec<String>,
    ) {
        if seen.iter().any(|name| name == message.full_name()) {
            return;
        }
        seen.push(message.full_name().to_owned());
        for field in message.fields() {
            if test(&field) {
                found.push(field.full_name().to_owned());
            }
            if let Some(inner) = field.kind().as_message() {
                visit(inner, test, seen, found);
            }
        }
    }
    let mut found = Vec::new();
    visit(message, test, &mut Vec::new(), &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_does_not_say_who_may_call_it_is_reachable_from_inside_alone() {
        let schema = Schema::embedded().unwrap();
        let rpc = schema.pool().get_extension_by_name("millrace.options.v1.rpc").unwrap();
        let methods = schema.pool().services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let says = |method: &MethodDescriptor| {
            let options = method.options();
            let rpc = options.get_extension(&rpc).into_owned();
            rpc.as_message().and_then(|rpc| rpc.get_field_by_name("access")?.as_enum_number()).unwrap_or(0)
        };
        let silent: Vec<_> = methods.filter(|method| says(method) == 0).collect();
        assert!(!silent.is_empty());
        for method in silent {
            let name = format!("{}/{}", method.parent_service().full_name(), method.name());
            assert_eq!(schema.method(&name).unwrap().access, Access::Internal, "{name}");
        }
    }
}
