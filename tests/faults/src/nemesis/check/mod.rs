//! What must hold, each as a function over what was seen. A checker that cannot fail is a defect, so each is shown made-up histories that
//! break what it checks.

mod alive;
mod answers;
mod ledgers;
mod lost;
mod money;
mod twice;

use std::collections::{BTreeMap, BTreeSet};

use millrace::Role;

use super::books::Books;
use super::fault::Kind;
use super::history::{Asked, Entry, Told, What};
use super::strike::Rewind;

/// All that is known of a run.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub history: Vec<Entry>,
    pub books: Books,
    pub rewinds: Vec<Rewind>,
    /// Keys that an operator found parked, with the reason.
    pub parked: Vec<(String, String)>,
    /// When the last fault had healed and everything was at rest, in the history's milliseconds.
    pub healed: u64,
    /// How often each kind was to happen, and how often it met something.
    pub hits: BTreeMap<Kind, (usize, usize)>,
}

/// What was known of a command, however often it was asked for.
#[derive(Clone, Debug, Default)]
pub struct Command {
    pub place: bool,
    pub cancel: bool,
    pub customer: usize,
    /// When it was asked for first.
    pub asked_at: u64,
    /// When it was first answered for good.
    pub ended_at: Option<u64>,
    /// The different answers for good, and the ids that receipts told.
    pub answers: BTreeSet<(Told, String)>,
    pub ids: BTreeSet<String>,
    /// What was canceled or made.
    pub about: Option<String>,
}

impl Command {
    /// How it ended, if it did.
    pub fn ended(&self) -> Option<Told> {
        self.answers.first().map(|(told, _)| *told)
    }
}

impl Evidence {
    /// Each command once, by its idempotency key.
    pub fn commands(&self) -> BTreeMap<&str, Command> {
        let mut commands: BTreeMap<&str, Command> = BTreeMap::new();
        for entry in self.history.iter().filter(|entry| entry.asked != Asked::PlaceOther) {
            let Some(key) = &entry.key else { continue };
            let command = commands.entry(key).or_insert_with(|| Command {
                place: entry.asked == Asked::Place,
                cancel: entry.asked == Asked::Cancel,
                customer: entry.customer,
                asked_at: entry.at,
                ..Command::default()
            });
            command.ids.extend(entry.command.clone().filter(|id| !id.is_empty()));
            command.about = entry.about.clone().or_else(|| command.about.take());
            if let (What::Ok, Some(told @ (Told::Completed | Told::Rejected | Told::Failed)), Some(answer)) =
                (entry.what, entry.told, &entry.answer)
            {
                command.ended_at.get_or_insert(entry.at);
                command.answers.insert((told, answer.clone()));
            }
        }
        commands
    }

    /// What was done between these times may have been lost with a database that was restored: nothing is promised of it but that what
    /// diverged is listed.
    pub fn may_be_lost(&self, service: Role, from: u64, until: Option<u64>) -> bool {
        let meets = |rewind: &&Rewind| from <= rewind.restored && until.is_none_or(|until| until >= rewind.copied);
        self.rewinds.iter().filter(|rewind| rewind.service == service).any(|rewind| meets(&rewind))
    }

    /// The same of a command.
    fn is_exempt(&self, command: &Command) -> bool {
        let service = if command.place || command.cancel { Role::Order } else { Role::Billing };
        self.may_be_lost(service, command.asked_at, command.ended_at)
    }

    /// The ids of the commands of which nothing is promised.
    fn exempt_ids(&self) -> BTreeSet<String> {
        self.commands()
            .values()
            .filter(|command| self.is_exempt(command))
            .flat_map(|command| command.ids.clone())
            .collect()
    }

    /// The key, or another one of the same order: an order and its payment have one id, and what diverged of one is open for both.
    fn was_parked(&self, key: &str) -> bool {
        let id = |key: &str| key.split('/').nth(1).map(ToOwned::to_owned);
        self.parked.iter().any(|(parked, _)| parked == key || (id(key).is_some() && id(parked) == id(key)))
    }
}

type Check = fn(&Evidence) -> Vec<String>;

/// All that must hold, by name.
pub const ALL: [(&str, Check); 13] = [
    ("nothing acknowledged is lost", lost::nothing_acknowledged_is_lost),
    ("what was rejected left no trace", lost::what_was_rejected_left_no_trace),
    ("nothing happened twice", twice::nothing_happened_twice),
    ("one key is one answer", answers::one_key_is_one_answer),
    ("nothing was refused that should not be", answers::nothing_was_refused_that_should_not_be),
    ("reads see what their token tells of", answers::reads_see_what_their_token_tells_of),
    ("money is conserved", money::money_is_conserved),
    ("revisions have no gaps", ledgers::revisions_have_no_gaps),
    ("cursors are where their owners' logs end", ledgers::cursors_are_where_logs_end),
    ("everything has ended", ledgers::everything_has_ended),
    ("nothing was parked but what diverged", ledgers::nothing_was_parked_but_what_diverged),
    ("every gateway serves every kind of call", alive::every_gateway_serves),
    ("the run did something", alive::the_run_did_something),
];

/// Whatever does not hold, each with the name of what should.
pub fn violations(evidence: &Evidence) -> Vec<String> {
    ALL.iter()
        .flat_map(|(name, check)| check(evidence).into_iter().map(move |found| format!("{name}: {found}")))
        .collect()
}

#[cfg(test)]
pub(super) mod made_up {
    use super::*;

    /// A call of customer 1 and its answer.
    pub(crate) fn call(at: u64, asked: Asked, key: &str, told: Told, id: &str) -> [Entry; 2] {
        let entry = |what| Entry { at, key: Some(key.to_owned()), ..Entry::of(1, asked, what, 0) };
        let answer = Some(format!("{told:?} {id}"));
        let answered = Entry { told: Some(told), command: Some(id.to_owned()), answer, ..entry(What::Ok) };
        [entry(What::Invoke), answered]
    }

    pub(crate) fn evidence(history: impl IntoIterator<Item = Entry>) -> Evidence {
        Evidence { history: history.into_iter().collect(), ..Evidence::default() }
    }

    pub(crate) fn rewound(service: Role, copied: u64, restored: u64) -> Vec<Rewind> {
        vec![Rewind { service, copied, restored }]
    }
}
