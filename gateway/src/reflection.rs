//! The descriptor set as clients may see it: reflection describes the public methods, with all their options and comments, and no other.

use event::Schema;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use proto::Message as _;

use crate::error::Error;
use crate::routes::Routes;

/// Field numbers in `FileDescriptorProto` and `ServiceDescriptorProto`, as the paths of comments have them.
const SERVICE: i32 = 6;
const METHOD: i32 = 2;

/// The encoded descriptor set without the methods that cannot be called here, and without services that have none left.
pub(crate) fn public_descriptors(schema: &Schema, routes: &Routes) -> Result<Vec<u8>, Error> {
    let kind = |name: &str| {
        schema.pool().get_message_by_name(name).ok_or_else(|| Error::Reflection(format!("no description of {name}")))
    };
    let (set_kind, file_kind) =
        (kind("google.protobuf.FileDescriptorSet")?, kind("google.protobuf.FileDescriptorProto")?);
    let files = schema.pool().files().map(|file| public_file(&file_kind, &file.encode_to_vec(), routes));
    let mut set = DynamicMessage::new(set_kind);
    set.set_field_by_name("file", Value::List(files.collect::<Result<_, _>>()?));
    Ok(set.encode_to_vec())
}

fn public_file(kind: &MessageDescriptor, encoded: &[u8], routes: &Routes) -> Result<Value, Error> {
    let mut file =
        DynamicMessage::decode(kind.clone(), encoded).map_err(|error| Error::Reflection(error.to_string()))?;
    let package = text(&file, "package");
    let mut kept = Kept::default();
    let mut services = Vec::new();
    for mut service in messages(&file, "service") {
        let name = format!("{package}.{}", text(&service, "name"));
        let methods: Vec<_> = messages(&service, "method");
        let is_public = |method: &DynamicMessage| routes.is_public(&format!("{name}/{}", text(method, "name")));
        kept.0.push(methods.iter().map(is_public).collect());
        let public: Vec<_> = methods.into_iter().filter(|method| is_public(method)).map(Value::Message).collect();
        if !public.is_empty() {
            service.set_field_by_name("method", Value::List(public));
            services.push(Value::Message(service));
        }
    }
    file.set_field_by_name("service", Value::List(services));
    if let Some(Value::Message(mut comments)) = file.take_field_by_name("source_code_info") {
        let locations = messages(&comments, "location").into_iter().filter_map(|location| kept.moved(location));
        let locations = locations.map(Value::Message).collect();
        comments.set_field_by_name("location", Value::List(locations));
        file.set_field_by_name("source_code_info", Value::Message(comments));
    }
    Ok(Value::Message(file))
}

/// Of each service of a file, which of its methods are kept.
#[derive(Default)]
struct Kept(Vec<Vec<bool>>);

impl Kept {
    /// A comment's location after the removal; None, if what it comments on is gone. Places are counted, so what follows moves up.
    fn moved(&self, mut location: DynamicMessage) -> Option<DynamicMessage> {
        let mut path: Vec<i32> =
            location.get_field_by_name("path")?.as_list()?.iter().filter_map(Value::as_i32).collect();
        if let [SERVICE, service, rest @ ..] = path.as_mut_slice() {
            let at = usize::try_from(*service).ok()?;
            let methods = self.0.get(at)?;
            if let [METHOD, method, ..] = rest {
                *method = place(methods, usize::try_from(*method).ok()?)?;
            }
            let services: Vec<_> = self.0.iter().map(|methods| methods.contains(&true)).collect();
            *service = place(&services, at)?;
        }
        location.set_field_by_name("path", Value::List(path.into_iter().map(Value::I32).collect()));
        Some(location)
    }
}

/// The place among the kept of the one that is at `at` among all.
fn place(kept: &[bool], at: usize) -> Option<i32> {
    let before = kept.get(..at)?.iter().filter(|&&kept| kept).count();
    if *kept.get(at)? { i32::try_from(before).ok() } else { None }
}

fn messages(parent: &DynamicMessage, field: &str) -> Vec<DynamicMessage> {
    let value = parent.get_field_by_name(field);
    let list = value.as_ref().and_then(|value| value.as_list());
    list.unwrap_or_default().iter().filter_map(|item| item.as_message().cloned()).collect()
}

fn text(parent: &DynamicMessage, field: &str) -> String {
    parent.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::owner::Owner;

    fn public() -> (FileDescriptorSet, Schema) {
        let schema = Schema::embedded().unwrap();
        let owners: BTreeMap<_, _> = ["registration", "user", "order", "billing"]
            .map(|domain| (domain.to_owned(), Owner::nowhere(domain)))
            .into_iter()
            .collect();
        let encoded = public_descriptors(&schema, &Routes::new(&schema, &owners)).unwrap();
        (FileDescriptorSet::decode(encoded.as_slice()).unwrap(), Schema::decode(&[&encoded]).unwrap())
    }

    #[tokio::test]
    async fn exactly_the_public_methods_are_described() {
        let (_, described) = public();
        let schema = Schema::embedded().unwrap();
        let names = |schema: &Schema, public_only: bool| -> Vec<String> {
            let methods = schema.methods().filter(|method| !public_only || method.access != event::Access::Internal);
            methods.map(|method| method.name.clone()).collect()
        };
        assert_eq!(names(&described, false), names(&schema, true));
    }

    #[tokio::test]
    async fn comments_stay_with_what_they_comment_on() {
        let (files, _) = public();
        let file = files.file.iter().find(|file| file.name() == "millrace/command/v1/command.proto").unwrap();
        let comment = |path: &[i32]| {
            let locations = &file.source_code_info.as_ref().unwrap().location;
            locations.iter().find(|l| l.path == path).map(|l| l.leading_comments().trim().to_owned())
        };
        assert!(comment(&[6, 0]).unwrap().starts_with("Answers how a command went"));
        assert!(comment(&[6, 0, 2, 1]).unwrap().starts_with("Like GetCommand"));
        assert_eq!(comment(&[6, 1]), None);
        assert!(!files.file.iter().any(|file| format!("{file:?}").contains("Reads the receipt of a command.")));
    }
}
