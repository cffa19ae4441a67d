//! Messages as JSON, for people who have to look into them: what is secret or personal is left out.

use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, MapKey, Value};
use serde_json::Value as Json;

use crate::schema::{Schema, is_personal, is_secret};

/// What stands for what is not shown.
const HIDDEN: &str = "(hidden)";

/// A message as JSON; None if its type is not known here, or it cannot be decoded.
pub fn to_json(schema: &Schema, type_name: &str, body: &[u8]) -> Option<Json> {
    let descriptor = schema.pool().get_message_by_name(type_name)?;
    Some(message(&DynamicMessage::decode(descriptor, body).ok()?))
}

fn message(of: &DynamicMessage) -> Json {
    let field = |(field, value): (FieldDescriptor, &Value)| {
        let hidden = is_secret(&field) || is_personal(&field);
        let shown = if hidden { Json::from(HIDDEN) } else { one(value, field.kind().as_enum()) };
        (field.json_name().to_owned(), shown)
    };
    Json::Object(of.fields().map(field).collect())
}

fn one(value: &Value, of: Option<&EnumDescriptor>) -> Json {
    use base64::Engine as _;
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I32(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        // As protobuf's own JSON has it: a number would lose digits.
        Value::I64(value) => value.to_string().into(),
        Value::U64(value) => value.to_string().into(),
        Value::F32(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::String(value) => value.as_str().into(),
        Value::Bytes(value) => base64::engine::general_purpose::STANDARD.encode(value).into(),
        Value::EnumNumber(number) => {
            let name = of.and_then(|of| of.get_value(*number)).map(|value| value.name().to_owned());
            name.map_or_else(|| (*number).into(), Json::from)
        }
        Value::Message(inner) => message(inner),
        Value::List(values) => values.iter().map(|value| one(value, of)).collect(),
        Value::Map(entries) => entries.iter().map(|(key, value)| (name(key), one(value, None))).collect(),
    }
}

fn name(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proto::Name as _;

    use super::*;

    fn shown<M: proto::Message + proto::Name>(message: &M) -> Json {
        to_json(&Schema::embedded().unwrap(), &M::full_name(), &message.encode_to_vec()).unwrap()
    }

    #[test]
    fn a_message_is_shown_by_the_names_of_its_fields_and_enums() {
        use proto::order::v1::order_canceled::Cause;
        use proto::order::v1::{OrderCanceled, OrderCreated, OrderLine};
        let canceled = OrderCanceled { order_id: "o".to_owned(), cause: Cause::Timeout.into(), reason: String::new() };
        assert_eq!(shown(&canceled), serde_json::json!({"orderId": "o", "cause": "CAUSE_TIMEOUT"}));
        let created = OrderCreated {
            lines: vec![OrderLine::default()],
            total: Some(proto::money::v1::Money { minor: 5, currency: "EUR".to_owned() }),
            ..Default::default()
        };
        assert_eq!(shown(&created), serde_json::json!({"lines": [{}], "total": {"minor": "5", "currency": "EUR"}}));
        assert!(to_json(&Schema::embedded().unwrap(), OrderCreated::NAME, b"").is_none(), "not by its short name");
    }

    #[test]
    fn secrets_and_what_is_personal_are_left_out() {
        let request = proto::registration::v1::RegisterRequest {
            address: "canary@example.com".to_owned(),
            password: "canary".to_owned(),
            display_name: "Canary".to_owned(),
            country: "DE".to_owned(),
            locale: "en".to_owned(),
        };
        let text = shown(&request).to_string();
        assert!(!text.to_lowercase().contains("canary") && text.contains(HIDDEN), "{text}");
    }
}
