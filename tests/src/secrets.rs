//! What the protos may not let happen: a secret in what is stored.

use event::{Access, Delivery, Kind, Method, Schema, hidden_fields, is_secret};

fn commands(schema: &Schema) -> impl Iterator<Item = &Method> {
    schema.methods().filter(|method| method.kind == Kind::Command)
}

#[test]
fn no_event_has_a_secret_field() {
    let schema = Schema::embedded().unwrap();
    for event in schema.events() {
        let message = schema.pool().get_message_by_name(&event.type_name).unwrap();
        assert_eq!(hidden_fields(&message, is_secret), Vec::<String>::new(), "{}", event.type_name);
    }
}

#[test]
fn no_durable_command_has_a_secret_field() {
    let schema = Schema::embedded().unwrap();
    for method in commands(&schema).filter(|method| method.delivery == Delivery::Durable) {
        assert_eq!(hidden_fields(&method.input, is_secret), Vec::<String>::new(), "{}", method.name);
    }
}

/// A response is stored with its receipt, so a secret in it would be, too. Anonymous commands keep no receipt.
#[test]
fn no_response_that_is_stored_has_a_secret_field() {
    let schema = Schema::embedded().unwrap();
    for method in commands(&schema).filter(|method| method.access != Access::Anonymous) {
        assert_eq!(hidden_fields(&method.output, is_secret), Vec::<String>::new(), "{}", method.name);
    }
}

#[test]
fn what_anybody_may_call_is_direct() {
    let schema = Schema::embedded().unwrap();
    for method in commands(&schema).filter(|method| method.access == Access::Anonymous) {
        assert_eq!(method.delivery, Delivery::Direct, "{}", method.name);
    }
}

#[test]
fn commands_have_no_map_fields() {
    let schema = Schema::embedded().unwrap();
    for method in commands(&schema) {
        assert_eq!(
            hidden_fields(&method.input, prost_reflect::FieldDescriptor::is_map),
            Vec::<String>::new(),
            "{}",
            method.name
        );
    }
}

#[test]
fn every_command_s_response_has_a_receipt_as_field_1_and_every_request_is_its_own() {
    let schema = Schema::embedded().unwrap();
    for method in commands(&schema) {
        let first = method.output.get_field(1).unwrap_or_else(|| panic!("{} answers without a receipt", method.name));
        let receipt = first.kind().as_message().map(|message| message.full_name().to_owned());
        assert_eq!(
            (first.name(), receipt.as_deref()),
            ("receipt", Some("millrace.command.v1.Receipt")),
            "{}",
            method.name
        );
        let takers = schema.methods().filter(|other| other.input.full_name() == method.input.full_name());
        assert_eq!(takers.count(), 1, "{} shares its request", method.name);
    }
}

#[test]
fn debug_leaves_secrets_and_personal_data_out() {
    let request = proto::registration::v1::RegisterRequest {
        address: "canary@example.com".into(),
        password: "canary-password".into(),
        display_name: "Canary".into(),
        country: "DE".into(),
        locale: "en".into(),
    };
    let tokens = proto::registration::v1::Tokens { access_token: "canary-token".into(), ..Default::default() };
    for printed in [format!("{request:?}"), format!("{tokens:?}")] {
        assert!(!printed.to_lowercase().contains("canary"), "{printed}");
    }
}
