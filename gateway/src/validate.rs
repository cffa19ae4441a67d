//! The `buf.validate` rules of the protos, compiled once and checked on every request.
//!
//! Only the kinds that the protos use are known: lengths and patterns of strings, bounds of integers, counts of lists, required fields, and
//! enums of defined values. A descriptor set with any other kind is refused at start-up, because a rule that is not checked is a promise
//! broken in silence.

mod rule;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use event::{Access, Schema};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _, Value};
use proto::rpc::bad_request::FieldViolation;

use crate::error::{Error, Refusal};
use rule::FieldRules;

/// Violations that are listed; a request with more is no less invalid.
const VIOLATIONS_MAX: usize = 32;

/// The rules of all messages that a client may send, by the message's name.
#[derive(Clone, Debug, Default)]
pub struct Rules(Arc<BTreeMap<String, Vec<FieldRules>>>);

impl Rules {
    /// The rules of the requests of all methods that can be called from outside.
    pub fn compile(schema: &Schema) -> Result<Self, Error> {
        let mut messages = BTreeMap::new();
        for method in schema.methods().filter(|method| method.access != Access::Internal) {
            compile_message(schema.pool(), &method.input, &mut messages)?;
        }
        Ok(Self(Arc::new(messages)))
    }

    /// The request, decoded and found valid.
    pub fn check(&self, kind: &MessageDescriptor, body: Bytes) -> Result<DynamicMessage, Refusal> {
        let message = DynamicMessage::decode(kind.clone(), body).map_err(|_| Refusal::MalformedMessage)?;
        let mut violations = Vec::new();
        self.check_message(&message, "", &mut violations);
        if violations.is_empty() { Ok(message) } else { Err(Refusal::InvalidFields(violations)) }
    }

    fn check_message(&self, message: &DynamicMessage, path: &str, violations: &mut Vec<FieldViolation>) {
        let descriptor = message.descriptor();
        for rules in self.0.get(descriptor.full_name()).into_iter().flatten() {
            if violations.len() >= VIOLATIONS_MAX {
                return;
            }
            let path = format!("{path}{}", rules.field.name());
            if let Some(description) = rules.violation(message) {
                violations.push(violation(path, description));
                continue;
            }
            match message.get_field(&rules.field).as_ref() {
                Value::Message(inner) if message.has_field(&rules.field) => {
                    self.check_message(inner, &format!("{path}."), violations);
                }
                Value::List(items) => {
                    for (index, item) in items.iter().enumerate().filter_map(|(n, item)| Some((n, item.as_message()?)))
                    {
                        self.check_message(item, &format!("{path}[{index}]."), violations);
                    }
                }
                _ => {}
            }
        }
    }
}

/// One violation of the field at `path`, such as `lines[0].quantity`.
pub fn violation(path: String, description: String) -> FieldViolation {
    FieldViolation { field: path, description, ..FieldViolation::default() }
}

fn compile_message(
    pool: &DescriptorPool,
    message: &MessageDescriptor,
    messages: &mut BTreeMap<String, Vec<FieldRules>>,
) -> Result<(), Error> {
    if messages.contains_key(message.full_name()) {
        return Ok(());
    }
    // Entered before its fields are, because a message may contain itself.
    messages.insert(message.full_name().to_owned(), Vec::new());
    rule::refuse_message_rules(pool, message)?;
    let mut rules = Vec::new();
    for field in message.fields() {
        let of_field = FieldRules::compile(pool, &field)?;
        if let Some(inner) = nested(&field) {
            compile_message(pool, &inner, messages)?;
            rules.push(of_field);
        } else if !of_field.is_empty() {
            rules.push(of_field);
        }
    }
    messages.insert(message.full_name().to_owned(), rules);
    Ok(())
}

/// The message that a field holds. What is in a map is not visited: no request has one.
fn nested(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    if field.is_map() { None } else { field.kind().as_message().cloned() }
}

#[cfg(test)]
mod tests {
    use proto::order::v1::PlaceOrderRequest;
    use proto::order::v1::place_order_request::Line;
    use proto::registration::v1::RegisterRequest;

    use super::*;

    fn violations<M: proto::Message + proto::Name>(request: &M) -> Vec<(String, String)> {
        let schema = Schema::embedded().unwrap();
        let rules = Rules::compile(&schema).unwrap();
        let kind = schema.pool().get_message_by_name(&M::full_name()).unwrap();
        match rules.check(&kind, request.encode_to_vec().into()) {
            Ok(_) => Vec::new(),
            Err(Refusal::InvalidFields(violations)) => {
                violations.into_iter().map(|v| (v.field, v.description)).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn line(sku: &str, quantity: i32) -> Line {
        Line { sku: sku.to_owned(), quantity }
    }

    fn order(lines: Vec<Line>) -> PlaceOrderRequest {
        PlaceOrderRequest { lines, payment_method_id: "A".repeat(22), expected_total: None }
    }

    fn registration() -> RegisterRequest {
        RegisterRequest {
            address: "ada@example.org".to_owned(),
            password: "correct horse".to_owned(),
            display_name: "Ada".to_owned(),
            country: "GB".to_owned(),
            locale: String::new(),
        }
    }

    #[test]
    fn every_rule_in_the_protos_is_one_that_is_checked() {
        Rules::compile(&Schema::embedded().unwrap()).unwrap();
    }

    #[test]
    fn a_good_request_passes() {
        assert_eq!(violations(&order(vec![line("tea", 1), line("pot", 1000)])), []);
        assert_eq!(violations(&registration()), []);
    }

    #[test]
    fn each_violation_names_its_field() {
        let found = violations(&order(vec![line("tea", 0), line("", 1001)]));
        let expected = [
            ("lines[0].quantity", "must be at least 1"),
            ("lines[1].sku", "must have at least 1 character"),
            ("lines[1].quantity", "must be at most 1000"),
        ];
        assert_eq!(found, expected.map(|(field, what)| (field.to_owned(), what.to_owned())));
    }

    #[test]
    fn lists_have_a_least_and_a_greatest_length() {
        assert_eq!(violations(&order(vec![]))[0], ("lines".to_owned(), "must have at least 1 entry".to_owned()));
        let many = (0..101).map(|_| line("tea", 1)).collect();
        assert_eq!(violations(&order(many))[0], ("lines".to_owned(), "must have at most 100 entries".to_owned()));
    }

    #[test]
    fn lengths_count_characters_and_patterns_are_matched() {
        assert_eq!(violations(&RegisterRequest { display_name: "ä".repeat(80), ..registration() }), []);
        for (request, field) in [
            (RegisterRequest { display_name: "ä".repeat(81), ..registration() }, "display_name"),
            (RegisterRequest { country: "gb".to_owned(), ..registration() }, "country"),
            (RegisterRequest { address: "ada at example".to_owned(), ..registration() }, "address"),
            (RegisterRequest { password: "short".to_owned(), ..registration() }, "password"),
        ] {
            assert_eq!(violations(&request)[0].0, field);
        }
    }

    #[test]
    fn text_that_no_database_stores_is_refused() {
        let request = RegisterRequest { locale: "e\0n".to_owned(), ..registration() };
        assert_eq!(violations(&request), [("locale".to_owned(), "must not contain the character U+0000".to_owned())]);
    }

    #[test]
    fn what_cannot_be_decoded_is_malformed() {
        let schema = Schema::embedded().unwrap();
        let rules = Rules::compile(&schema).unwrap();
        let kind = schema.pool().get_message_by_name("millrace.order.v1.PlaceOrderRequest").unwrap();
        for body in [&b"\xff\xff\xff"[..], b"\x0a\x05abc", b"\x12\x02\xff\xfe"] {
            assert!(matches!(rules.check(&kind, Bytes::from_static(body)), Err(Refusal::MalformedMessage)));
        }
    }
}
