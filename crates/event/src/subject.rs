//! The names of subjects, streams, consumers and commands, all below one namespace, so that tests and tenants can share a server.

use crate::{Id, InvalidId, Key, Record};

/// The namespace where none is set. In the names of spans and metrics it stands for any.
pub const NAMESPACE: &str = "millrace";

/// `millrace.order.v1.OrderCreated` is of the domain `order`, and so is `millrace.order.v1.OrderService/PlaceOrder`.
pub fn domain_of(full_name: &str) -> &str {
    full_name.split('.').nth(1).unwrap_or_default()
}

/// `millrace.order.v1.OrderCreated` is `order-created` on the wire.
pub fn kebab(full_name: &str) -> String {
    let name = full_name.rsplit(['.', '/']).next().unwrap_or_default();
    let mut kebab = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(character.to_ascii_lowercase());
    }
    kebab
}

/// Where an event is published: `<ns>.evt.<domain>.<aggregate>.<event>.<id>`.
pub fn of_event(namespace: &str, record: &Record) -> String {
    format!("{}.{}", event_template(namespace, record.key.aggregate(), &record.type_name), record.key.id())
}

/// The same without the id, for spans and metrics, whose names must be few.
pub fn event_template(namespace: &str, aggregate: &str, type_name: &str) -> String {
    format!("{namespace}.evt.{}.{aggregate}.{}", domain_of(type_name), kebab(type_name))
}

/// All events of an aggregate's kind.
pub fn of_aggregate(namespace: &str, domain: &str, aggregate: &str) -> String {
    format!("{namespace}.evt.{domain}.{aggregate}.>")
}

/// All events of one key.
pub fn of_key(namespace: &str, domain: &str, key: &Key) -> String {
    format!("{namespace}.evt.{domain}.{}.*.{}", key.aggregate(), key.id())
}

/// All events of a domain.
pub fn of_events(namespace: &str, domain: &str) -> String {
    format!("{namespace}.evt.{domain}.>")
}

/// Where a command is published: `<ns>.cmd.<domain>.<method>.<command id>`.
pub fn of_command(namespace: &str, method: &str, id: Id) -> String {
    format!("{}.{id}", command_template(namespace, method))
}

/// The same without the id.
pub fn command_template(namespace: &str, method: &str) -> String {
    format!("{namespace}.cmd.{}.{}", domain_of(method), kebab(method))
}

/// All commands of a domain.
pub fn of_commands(namespace: &str, domain: &str) -> String {
    format!("{namespace}.cmd.{domain}.>")
}

/// The stream of a domain's events.
pub fn event_stream(namespace: &str, domain: &str) -> String {
    format!("{namespace}_evt_{domain}")
}

/// The stream of a domain's commands.
pub fn command_stream(namespace: &str, domain: &str) -> String {
    format!("{namespace}_cmd_{domain}")
}

/// A command's name, `<domain>.<method>/<id>`, as receipts carry it. The domain is that of the owner, also of a method that every service
/// answers: so the name tells where to ask for it.
pub fn command_name(owner: &str, method: &str, id: Id) -> String {
    format!("{owner}.{}/{id}", kebab(method))
}

/// The domain, the kebab name of the method and the id in a command's name. Clients send such names: the first two are words of ours, so that
/// nothing else comes into what is asked or written down.
pub fn parse_command_name(name: &str) -> Result<(&str, &str, Id), InvalidId> {
    let (method, id) = name.split_once('/').ok_or(InvalidId)?;
    let (domain, method) = method.split_once('.').ok_or(InvalidId)?;
    if !is_word(domain) || !is_word(method) {
        return Err(InvalidId);
    }
    Ok((domain, method, id.parse()?))
}

fn is_word(text: &str) -> bool {
    let well_formed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.bytes().all(well_formed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_protobuf_name() {
        let id = Id::timed(1, [1; 10]);
        let method = "millrace.order.v1.OrderService/PlaceOrder";
        assert_eq!(of_command("ns", method, id), format!("ns.cmd.order.place-order.{id}"));
        assert_eq!(parse_command_name(&command_name("order", method, id)), Ok(("order", "place-order", id)));
        for name in ["", ".", "order.", ".place-order", "order.place.order", "order.*", "or der.>", "ORDER.place-order"]
        {
            assert!(parse_command_name(&format!("{name}/{id}")).is_err(), "{name}");
        }
        assert_eq!(event_template("ns", "order", "millrace.order.v1.OrderCreated"), "ns.evt.order.order.order-created");
    }
}
