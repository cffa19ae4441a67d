//! The rules of one field.

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use regex_lite::Regex;

use crate::error::Error;

/// What a field must hold.
#[derive(Clone, Debug)]
pub(super) struct FieldRules {
    pub(super) field: FieldDescriptor,
    required: bool,
    checks: Vec<Check>,
}

#[derive(Clone, Debug)]
enum Check {
    /// In characters.
    Length(Bounds),
    Pattern(Regex),
    Number(Bounds),
    /// In entries.
    Count(Bounds),
    DefinedEnum,
    /// No U+0000: protobuf allows it, and Postgres stores no text with it. Holds for every text, without a rule.
    Storable,
}

/// From and to, both included.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    least: i64,
    most: i64,
}

impl FieldRules {
    pub(super) fn compile(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<Self, Error> {
        let mut rules = Self { field: field.clone(), required: false, checks: Vec::new() };
        if field.kind() == Kind::String {
            rules.checks.push(Check::Storable);
        }
        let options = field.options();
        let Some(extension) = extension(pool, "buf.validate.field").filter(|known| options.has_extension(known)) else {
            return Ok(rules);
        };
        let Value::Message(stated) = options.get_extension(&extension).into_owned() else { return Ok(rules) };
        for (rule, value) in stated.fields() {
            match (rule.name(), value) {
                ("required", Value::Bool(required)) => rules.required = *required,
                ("string", Value::Message(of_string)) => rules.add_string(of_string)?,
                ("int32" | "int64", Value::Message(bounds)) => rules.add_number(rule.name(), bounds)?,
                ("repeated", Value::Message(bounds)) => rules.add_count(bounds)?,
                ("enum", Value::Message(of_enum)) => rules.add_enum(of_enum)?,
                (other, _) => return Err(rules.unsupported(other)),
            }
        }
        // A rule that this binary's copy of the rules does not know would otherwise go unseen.
        match stated.unknown_fields().next() {
            Some(unknown) => Err(rules.unsupported(&unknown.number().to_string())),
            None => Ok(rules),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        !self.required && self.checks.is_empty()
    }

    /// What is wrong with the field, without saying what it holds.
    pub(super) fn violation(&self, message: &DynamicMessage) -> Option<String> {
        let is_set = message.has_field(&self.field);
        if !is_set && self.required {
            return Some("is required".to_owned());
        }
        if !is_set && self.field.supports_presence() {
            return None;
        }
        let value = message.get_field(&self.field);
        self.checks.iter().find_map(|check| check.violation(&value, &self.field))
    }

    fn add_string(&mut self, rules: &DynamicMessage) -> Result<(), Error> {
        let mut length = Bounds::ANY_COUNT;
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("min_len", Value::U64(least)) => length.least = count(*least),
                ("max_len", Value::U64(most)) => length.most = count(*most),
                ("len", Value::U64(exactly)) => length = Bounds { least: count(*exactly), most: count(*exactly) },
                ("pattern", Value::String(pattern)) => {
                    let field = self.field.full_name().to_owned();
                    let regex = Regex::new(pattern).map_err(|source| Error::Pattern { field, source })?;
                    self.checks.push(Check::Pattern(regex));
                }
                (other, _) => return Err(self.unsupported(&format!("string.{other}"))),
            }
        }
        // Before any pattern, whose cost grows with the length.
        self.checks.insert(0, Check::Length(length));
        Ok(())
    }

    fn add_number(&mut self, kind: &str, rules: &DynamicMessage) -> Result<(), Error> {
        let mut bounds = Bounds { least: i64::MIN, most: i64::MAX };
        for (rule, value) in rules.fields() {
            let number = value.as_i64().or_else(|| value.as_i32().map(i64::from));
            match (rule.name(), number) {
                ("gt", Some(number)) => bounds.least = number.saturating_add(1),
                ("gte", Some(number)) => bounds.least = number,
                ("lt", Some(number)) => bounds.most = number.saturating_sub(1),
                ("lte", Some(number)) => bounds.most = number,
                (other, _) => return Err(self.unsupported(&format!("{kind}.{other}"))),
            }
        }
        // The rules give such bounds another meaning: outside both.
        if bounds.least > bounds.most {
            return Err(self.unsupported(&format!("{kind}, with its bounds crossed")));
        }
        self.checks.push(Check::Number(bounds));
        Ok(())
    }

    fn add_count(&mut self, rules: &DynamicMessage) -> Result<(), Error> {
        let mut bounds = Bounds::ANY_COUNT;
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("min_items", Value::U64(least)) => bounds.least = count(*least),
                ("max_items", Value::U64(most)) => bounds.most = count(*most),
                (other, _) => return Err(self.unsupported(&format!("repeated.{other}"))),
            }
        }
        self.checks.push(Check::Count(bounds));
        Ok(())
    }

    fn add_enum(&mut self, rules: &DynamicMessage) -> Result<(), Error> {
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("defined_only", Value::Bool(true)) => self.checks.push(Check::DefinedEnum),
                ("defined_only", _) => {}
                (other, _) => return Err(self.unsupported(&format!("enum.{other}"))),
            }
        }
        Ok(())
    }

    fn unsupported(&self, rule: &str) -> Error {
        Error::UnsupportedRule { field: self.field.full_name().to_owned(), rule: rule.to_owned() }
    }
}

impl Check {
    fn violation(&self, value: &Value, field: &FieldDescriptor) -> Option<String> {
        match (self, value) {
            (Self::Length(bounds), Value::String(text)) => {
                bounds.violation(count(text.chars().count() as u64), "have ", "character", "characters")
            }
            (Self::Pattern(regex), Value::String(text)) => {
                (!regex.is_match(text)).then(|| format!("must match {}", regex.as_str()))
            }
            (Self::Number(bounds), Value::I32(number)) => bounds.violation(i64::from(*number), "be ", "", ""),
            (Self::Number(bounds), Value::I64(number)) => bounds.violation(*number, "be ", "", ""),
            (Self::Count(bounds), Value::List(items)) => {
                bounds.violation(count(items.len() as u64), "have ", "entry", "entries")
            }
            (Self::Storable, Value::List(items)) => items.iter().find_map(|item| self.violation(item, field)),
            (Self::Storable, Value::String(text)) => {
                text.contains('\0').then(|| "must not contain the character U+0000".to_owned())
            }
            (Self::DefinedEnum, Value::EnumNumber(number)) => {
                let kind = field.kind();
                let defined = kind.as_enum().is_some_and(|kind| kind.get_value(*number).is_some());
                (!defined).then(|| "must be one of the defined values".to_owned())
            }
            _ => None,
        }
    }
}

impl Bounds {
    const ANY_COUNT: Self = Self { least: 0, most: i64::MAX };

    fn violation(self, number: i64, verb: &str, one: &str, many: &str) -> Option<String> {
        let (relation, bound) = match number {
            _ if (self.least..=self.most).contains(&number) => return None,
            _ if self.least == self.most => ("exactly", self.least),
            _ if number < self.least => ("at least", self.least),
            _ => ("at most", self.most),
        };
        let unit = if bound == 1 { one } else { many };
        Some(format!("must {verb}{relation} {bound} {unit}").trim_end().to_owned())
    }
}

/// Rules of whole messages and of oneofs are expressions, or near to them: none is supported.
pub(super) fn refuse_message_rules(pool: &DescriptorPool, message: &MessageDescriptor) -> Result<(), Error> {
    let has = |options: &DynamicMessage, name| extension(pool, name).is_some_and(|known| options.has_extension(&known));
    let unsupported =
        |field: &str, rule: &str| Error::UnsupportedRule { field: field.to_owned(), rule: rule.to_owned() };
    if has(&message.options(), "buf.validate.message") {
        return Err(unsupported(message.full_name(), "message"));
    }
    match message.oneofs().find(|oneof| has(&oneof.options(), "buf.validate.oneof")) {
        Some(oneof) => Err(unsupported(oneof.full_name(), "oneof")),
        None => Ok(()),
    }
}

fn extension(pool: &DescriptorPool, name: &str) -> Option<ExtensionDescriptor> {
    pool.get_extension_by_name(name)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
