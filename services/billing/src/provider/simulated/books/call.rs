use std::collections::{BTreeMap, HashMap, HashSet};

use ledger::Transaction;
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use crate::provider::Outcome;

/// A call that was carried out, or refused: what makes a repetition harmless.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "simulated_call")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) reference: String,
    pub(super) charge: String,
    /// Why nothing was done; null if it was.
    pub(super) refusal: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    fn outcome(self) -> Outcome {
        self.refusal.map_or(Outcome::Done, Outcome::Refused)
    }
}

/// Takes the references, and says which were not taken before; whoever comes while another is at one waits for its end.
pub(super) async fn claim(
    txn: &Transaction,
    calls: impl Iterator<Item = (&str, &str)>,
) -> Result<HashSet<String>, DbErr> {
    let row = |(reference, charge): (&str, &str)| ActiveModel {
        reference: Set(reference.to_owned()),
        charge: Set(charge.to_owned()),
        refusal: Set(None),
    };
    let nothing = OnConflict::column(Column::Reference).do_nothing().to_owned();
    let taken = Entity::insert_many(calls.map(row)).on_conflict(nothing).exec_with_returning_keys(txn).await;
    match taken {
        Ok(taken) => Ok(taken.into_iter().collect()),
        Err(DbErr::RecordNotInserted) => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}

/// Notes why nothing was done.
pub(super) async fn refuse(txn: &Transaction, refusals: &BTreeMap<&str, &str>) -> Result<(), DbErr> {
    for (&reference, &refusal) in refusals {
        let row = ActiveModel {
            reference: Unchanged(reference.to_owned()),
            refusal: Set(Some(refusal.to_owned())),
            ..Default::default()
        };
        row.update(txn).await?;
    }
    Ok(())
}

/// What came of calls, by their references.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    references: impl IntoIterator<Item = &str>,
) -> Result<HashMap<String, Outcome>, DbErr> {
    let references: Vec<_> = references.into_iter().collect();
    if references.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = Entity::find().filter(Column::Reference.is_in(references)).all(db).await?;
    Ok(rows.into_iter().map(|row| (row.reference.clone(), row.outcome())).collect())
}
