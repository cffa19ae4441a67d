use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, LikeExpr};
use sea_orm::{Condition, QueryOrder, QuerySelect};

/// A view over all that is set aside, whatever it is, and over what was dropped.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "parked")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub kind: String,
    /// The subscription, the kind of effect, the timer or the method.
    pub name: String,
    /// The aggregate's key, or the command's id.
    pub key: String,
    pub revision: i64,
    pub attempts: i64,
    pub reason: Option<String>,
    /// Who dropped it; none, if it is parked.
    pub author: Option<String>,
    pub time: Option<i64>,
    pub note: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

/// Which ones. What is not set selects all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) kind: Option<&'static str>,
    pub(crate) is_dropped: Option<bool>,
    pub(crate) key: String,
    pub(crate) name: String,
    /// A part of the reason, in small or capital letters.
    pub(crate) error: String,
}

impl Selection {
    fn condition(&self) -> Condition {
        let text = |column: Column, text: &str| (!text.is_empty()).then(|| column.eq(text));
        let lower = |text: &str| format!("%{}%", text.to_lowercase().replace(['\\', '%', '_'], "_"));
        let error = || Func::lower(Expr::col(Column::Reason)).like(LikeExpr::new(lower(&self.error)));
        Condition::all()
            .add_option(self.kind.map(|kind| Column::Kind.eq(kind)))
            .add_option(
                self.is_dropped.map(
                    |dropped| {
                        if dropped { Column::Author.is_not_null() } else { Column::Author.is_null() }
                    },
                ),
            )
            .add_option(text(Column::Key, &self.key))
            .add_option(text(Column::Name, &self.name))
            .add_option((!self.error.is_empty()).then(error))
    }

    /// The rows after an id, sorted by it.
    pub(crate) async fn page(
        &self,
        connection: &impl ConnectionTrait,
        after: &str,
        limit: u64,
    ) -> Result<Vec<Model>, DbErr> {
        let rows = Entity::find().filter(self.condition()).filter(Column::Id.gt(after));
        rows.order_by_asc(Column::Id).limit(limit).all(connection).await
    }
}

pub(crate) async fn find(connection: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::Id.eq(id)).one(connection).await
}
