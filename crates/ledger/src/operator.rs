//! What was set aside, in an operator's hands: listed, tried again, or given up.

use event::{Id, Key, Micros};
use proto::operator::v1::{
    DropRequest, DropResponse, Dropped, ListParkedRequest, ListParkedResponse, Parked, ParkedKind, ParkedState,
    RedriveRequest, RedriveResponse,
};

use crate::compare::{ACCEPTED, DAMAGED, DIVERGED};
use crate::error::{Code, Error, Rejection, Result};
use crate::reader::Reader;
use crate::store::parked::{self, Selection};
use crate::store::writes::write;
use crate::store::{cursor, dropped, effect, receipt, timer};
use crate::tx::Tx;

/// Who calls from the command line.
pub const OPERATOR: &str = "operator";

const PAGE: u64 = 1000;

/// Lists what is parked, and what was dropped.
pub async fn list_parked(reader: Reader, request: ListParkedRequest) -> Result<ListParkedResponse> {
    let limit = u64::try_from(request.page_size).ok().filter(|size| (1..=PAGE).contains(size)).unwrap_or(PAGE);
    let selection = Selection {
        kind: kind_name(request.kind()),
        is_dropped: match request.state() {
            ParkedState::Unspecified => None,
            ParkedState::Parked => Some(false),
            ParkedState::Diverged => Some(true),
        },
        key: request.key,
        name: request.name,
        error: request.error,
    };
    let mut rows = selection.page(&reader.db, &request.page_token, limit + 1).await?;
    let more = rows.len() as u64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_page_token = rows.last().filter(|_| more).map(|row| row.id.clone()).unwrap_or_default();
    Ok(ListParkedResponse { parked: shown(&reader, rows).await?, next_page_token })
}

/// One that is parked; None if it is not, or not any more.
pub async fn find_parked(reader: &Reader, id: &str) -> Result<Option<Parked>> {
    let row = parked::find(&reader.db, id).await?;
    Ok(shown(reader, row.into_iter().collect()).await?.pop())
}

async fn shown(reader: &Reader, rows: Vec<parked::Model>) -> Result<Vec<Parked>> {
    let diverged = dropped::among(&reader.db, rows.iter().map(|row| row.id.as_str())).await?;
    let one = |row: parked::Model| Parked {
        kind: kind_of(&row.kind).into(),
        state: if row.author.is_some() { ParkedState::Diverged } else { ParkedState::Parked }.into(),
        has_diverged: row.author.is_some() || diverged.contains(&row.id),
        dropped: row.author.map(|author| Dropped {
            author,
            time: row.time.map(|time| Micros(time).into()),
            note: row.note.unwrap_or_default(),
        }),
        id: row.id,
        name: row.name,
        key: row.key,
        revision: row.revision,
        attempts: i32::try_from(row.attempts).unwrap_or(i32::MAX),
        reason: row.reason.unwrap_or_default(),
    };
    Ok(rows.into_iter().map(one).collect())
}

/// Tries it again, with all its attempts.
pub async fn redrive(cx: &mut Tx, request: RedriveRequest) -> Result<RedriveResponse> {
    let row = find(cx, &request.id).await?;
    let author = author(cx, &request.author);
    tracing::info!(id = row.id, author, "what was parked is tried again");
    match kind_of(&row.kind) {
        ParkedKind::Event => {
            let (id, cursor) = parked_cursor(cx, &row).await?;
            let due = Some(cx.now.0);
            let again = if has_diverged(&cursor) {
                accepted(cursor, cx.now)
            } else {
                let reason = Some(format!("redriven by {author}"));
                cursor::Model { state: cursor::State::Waiting, due, reason, attempts: 0, ..cursor }
            };
            cx.book.set_cursor(&id, again);
        }
        ParkedKind::Answer => {
            let effect = parked_effect(cx, &row).await?;
            let leased_until = cx.now.0;
            let again = effect::Model { state: effect::State::Leased, leased_until, attempts: 0, ..effect };
            write(&cx.txn, |writes| effect::write(writes, [again])).await?;
        }
        ParkedKind::Timer => {
            let (id, timer) = parked_timer(cx, &row).await?;
            let (state, leased_until) = (timer::State::Set, cx.now.0);
            cx.book.timers.insert(id, Some(timer::Model { state, leased_until, taken: 0, attempts: 0, ..timer }));
        }
        ParkedKind::Command | ParkedKind::Unspecified => {
            let (id, receipt) = failed_receipt(cx, &row).await?;
            if receipt.request.is_none() {
                return Err(secret().into());
            }
            cx.book.set_receipt(id, receipt::Model { state: receipt::State::Accepted, attempts: 0, ..receipt });
        }
    }
    cx.touched.wrote = true;
    Ok(RedriveResponse { receipt: None })
}

/// Gives it up, and writes down who did.
pub async fn drop_parked(cx: &mut Tx, request: DropRequest) -> Result<DropResponse> {
    let row = find(cx, &request.id).await?;
    if row.revision != request.revision {
        let message = format!("it is parked at revision {}, not at {}", row.revision, request.revision);
        return Err(Rejection::new(Code::FailedPrecondition, "OTHER_REVISION", message).into());
    }
    match kind_of(&row.kind) {
        ParkedKind::Event => {
            // What comes after it is read from the owner's log, and it itself with its history: only then the cursor moves.
            let (id, cursor) = parked_cursor(cx, &row).await?;
            let (state, due, dropped) = (cursor::State::Waiting, Some(cx.now.0), row.revision);
            let moved = if has_diverged(&cursor) && !is_damaged(&cursor) {
                accepted(cursor, cx.now)
            } else {
                cursor::Model { state, due, dropped, attempts: 0, ..cursor }
            };
            cx.book.set_cursor(&id, moved);
        }
        ParkedKind::Answer => {
            let effect = parked_effect(cx, &row).await?;
            let given_up = effect::Model { state: effect::State::Dropped, answer: None, ..effect };
            write(&cx.txn, |writes| effect::write(writes, [given_up])).await?;
        }
        ParkedKind::Timer => {
            let (id, _) = parked_timer(cx, &row).await?;
            cx.book.timers.insert(id, None);
        }
        ParkedKind::Command | ParkedKind::Unspecified => {
            let (id, receipt) = failed_receipt(cx, &row).await?;
            cx.book.set_receipt(id, receipt::Model { request: None, ..receipt });
        }
    }
    let author = author(cx, &request.author);
    tracing::warn!(id = row.id, revision = row.revision, author, "what was parked is given up");
    let parked::Model { id, kind, name, key, revision, reason, .. } = row;
    let note = Some(request.note).filter(|note| !note.is_empty());
    let given_up = dropped::Model { id, revision, kind, name, key, author, time: cx.now.0, reason, note };
    cx.touched.wrote = true;
    dropped::insert(&cx.txn, given_up).await?;
    Ok(DropResponse { receipt: None })
}

fn has_diverged(cursor: &cursor::Model) -> bool {
    cursor.reason.as_deref().is_some_and(|reason| reason.starts_with(DIVERGED))
}

/// The row that failed is damaged in its owner's log: it can be skipped, but nothing goes on from it as it stands.
fn is_damaged(cursor: &cursor::Model) -> bool {
    cursor.reason.as_deref().is_some_and(|reason| reason.starts_with(DAMAGED))
}

/// What was done on a past that its owner has no longer stands. The key goes on from the last row that the owner's log has.
fn accepted(cursor: cursor::Model, now: Micros) -> cursor::Model {
    let (state, due, reason) = (cursor::State::Comparing, Some(now.0), Some(ACCEPTED.to_owned()));
    cursor::Model { state, due, reason, attempts: 0, ..cursor }
}

/// Who decides something: a user is who the gateway says; on the command line everybody has the same seal, and says who they are.
pub fn author(cx: &Tx, says: &str) -> String {
    let caller = cx.caller();
    if caller.user.is_some() { caller.name.clone() } else { format!("{OPERATOR}/{says}") }
}

async fn find(cx: &Tx, id: &str) -> Result<parked::Model> {
    let row = parked::find(&cx.txn, id).await?.filter(|row| row.author.is_none());
    row.ok_or_else(|| not_parked().into())
}

/// The cursor, locked; in the form in which this batch has left it.
async fn parked_cursor(cx: &mut Tx, row: &parked::Model) -> Result<(cursor::CursorId, cursor::Model)> {
    let subscriptions = &cx.ledger.0.handlers.subscriptions;
    let (name, _) = subscriptions.get_key_value(row.name.as_str()).ok_or_else(unknown)?;
    let id = (*name, key_of(row)?);
    if cx.book.cursor(&id).is_err() {
        cx.book.lock_cursors(&cx.txn, vec![id.clone()]).await?;
    }
    let cursor = cx.book.cursor(&id)?.clone();
    let is_parked = cursor.state == cursor::State::Parked && cursor.revision + 1 == row.revision;
    if is_parked { Ok((id, cursor)) } else { Err(not_parked().into()) }
}

async fn parked_effect(cx: &Tx, row: &parked::Model) -> Result<effect::Model> {
    let effect = effect::lock(&cx.txn, &key_of(row)?, &row.name, row.revision).await?;
    let effect = effect.filter(|effect| effect.state == effect::State::Parked);
    effect.ok_or_else(|| not_parked().into())
}

async fn parked_timer(cx: &Tx, row: &parked::Model) -> Result<(timer::TimerId, timer::Model)> {
    let (name, _) = cx.ledger.0.handlers.timers.get_key_value(row.name.as_str()).ok_or_else(unknown)?;
    let id = (key_of(row)?, *name);
    let timer = match cx.book.timers.get(&id) {
        Some(changed) => changed.clone(),
        None => timer::lock(&cx.txn, &id).await?,
    };
    let timer = timer.filter(|timer| timer.state == timer::State::Parked);
    timer.map(|timer| (id, timer)).ok_or_else(|| not_parked().into())
}

async fn failed_receipt(cx: &mut Tx, row: &parked::Model) -> Result<(Id, receipt::Model)> {
    let id = row.key.parse().map_err(|_| unknown())?;
    if cx.book.receipt(id).is_none() {
        cx.book.lock_receipts(&cx.txn, &[id]).await?;
    }
    let receipt = cx.book.receipt(id).filter(|receipt| receipt.state == receipt::State::Failed).cloned();
    receipt.map(|receipt| (id, receipt)).ok_or_else(|| not_parked().into())
}

fn key_of(row: &parked::Model) -> Result<Key> {
    row.key.parse().map_err(|_| Error::Failed(format!("`{}` is no key", row.key)))
}

fn not_parked() -> Rejection {
    Rejection::new(Code::NotFound, "NOT_PARKED", "it is not parked, or not any more")
}

fn secret() -> Rejection {
    let message =
        "the command's request held a secret, or was given up, so it was not kept: its caller has to send it anew";
    Rejection::new(Code::FailedPrecondition, "REQUEST_NOT_KEPT", message)
}

fn unknown() -> Rejection {
    let message = "this version of the service has no handler for it";
    Rejection::new(Code::FailedPrecondition, "NO_HANDLER", message)
}

const KINDS: [(&str, ParkedKind); 4] = [
    ("event", ParkedKind::Event),
    ("answer", ParkedKind::Answer),
    ("timer", ParkedKind::Timer),
    ("command", ParkedKind::Command),
];

fn kind_of(name: &str) -> ParkedKind {
    KINDS.iter().find(|(kind, _)| *kind == name).map_or(ParkedKind::Unspecified, |(_, kind)| *kind)
}

fn kind_name(kind: ParkedKind) -> Option<&'static str> {
    KINDS.iter().find(|(_, of)| *of == kind).map(|(name, _)| *name)
}
