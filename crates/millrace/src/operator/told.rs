//! What an operator is told: as a table, as text, or as JSON for programs.

use std::fmt::Write as _;

use event::{Schema, to_json};
use proto::operator::v1::{Parked, ParkedKind, ParkedState, ShowParkedResponse};
use proto::{Message, Name};
use serde_json::Value;

use super::Found;

/// How much of a reason has room in a table; `show` tells all of it.
const REASON_LEN: usize = 80;

const TITLES: [&str; 8] = ["STATE", "KIND", "SERVICE", "NAME", "KEY", "REVISION", "ATTEMPTS", "REASON"];

/// One line for each, below their titles.
pub fn as_table(found: &[Found]) -> String {
    let mut lines = vec![TITLES.map(str::to_owned)];
    lines.extend(found.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
    let mut table = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{}", padded.join("  ").trim_end());
    }
    table
}

fn cells(found: &Found) -> [String; TITLES.len()] {
    let Parked { name, key, revision, attempts, reason, .. } = &found.parked;
    let one_line = reason.replace(['\n', '\r', '\t'], " ");
    let short: String = one_line.chars().take(REASON_LEN).collect();
    let reason = if short.len() < one_line.len() { format!("{short}…") } else { short };
    let (revision, attempts) = (revision.to_string(), attempts.to_string());
    let service = found.service.to_string();
    [state(&found.parked), kind(&found.parked), service, name.clone(), key.clone(), revision, attempts, reason]
}

/// One of them in full.
pub fn as_text(found: &Found, shown: &ShowParkedResponse) -> String {
    let parked = shown.parked.as_ref().unwrap_or(&found.parked);
    let mut lines = vec![
        ("id", parked.id.clone()),
        ("service", found.service.to_string()),
        ("kind", kind(parked)),
        ("state", state(parked)),
        ("name", parked.name.clone()),
        ("key", parked.key.clone()),
        ("revision", parked.revision.to_string()),
        ("attempts", parked.attempts.to_string()),
        ("reason", parked.reason.clone()),
    ];
    if let Some(dropped) = &parked.dropped {
        lines.push(("dropped by", dropped.author.clone()));
        let time = dropped.time.as_ref().map(ToString::to_string);
        lines.push(("dropped at", time.unwrap_or_default()));
        lines.push(("note", dropped.note.clone()));
    }
    lines.push(("trace", shown.traceparent.clone()));
    lines.push(("type", shown.r#type.clone()));
    let message =
        serde_json::from_str::<Value>(&shown.json).ok().and_then(|json| serde_json::to_string_pretty(&json).ok());
    lines.push(("message", message.unwrap_or_else(|| shown.unavailable.clone())));
    let lines = lines.into_iter().filter(|(_, text)| !text.is_empty());
    lines.fold(String::new(), |told, (title, text)| told + &format!("{title:<10}  {text}\n"))
}

/// The same for programs: one object, on one line.
pub fn as_json(schema: &Schema, found: &Found, shown: Option<&ShowParkedResponse>) -> String {
    let parked = json(schema, &found.parked);
    let mut object = shown.map_or(parked, |shown| json(schema, shown));
    if let Some(text) = shown.map(|shown| shown.json.as_str()).filter(|text| !text.is_empty()) {
        object["json"] = serde_json::from_str(text).unwrap_or_default();
    }
    object["service"] = found.service.name().into();
    object.to_string()
}

fn json<M: Message + Name>(schema: &Schema, message: &M) -> Value {
    to_json(schema, &M::full_name(), &message.encode_to_vec()).unwrap_or_default()
}

fn state(parked: &Parked) -> String {
    match parked.state() {
        ParkedState::Parked if parked.has_diverged => "parked, diverged",
        ParkedState::Parked if parked.kind() == ParkedKind::Command => "failed",
        ParkedState::Parked => "parked",
        ParkedState::Diverged => "diverged",
        ParkedState::Unspecified => "unknown",
    }
    .to_owned()
}

fn kind(parked: &Parked) -> String {
    match parked.kind() {
        ParkedKind::Event => "event",
        ParkedKind::Answer => "answer",
        ParkedKind::Timer => "timer",
        ParkedKind::Command => "command",
        ParkedKind::Unspecified => "unknown",
    }
    .to_owned()
}
