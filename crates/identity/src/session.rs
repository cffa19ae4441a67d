//! The session replica: each service knows by itself which sessions have ended, and refuses them without asking anybody.

use event::{Id, Micros};
use fault::{Protection, without};
use ledger::{Error, Lookup, Result, Subscription, Tx};
use proto::registration::v1::{LoginSuccess, LogoutSuccess};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ConnectionTrait};
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, string, string_null};

/// The subscription that keeps the replica.
pub fn subscription() -> Subscription {
    Subscription::new("sessions", 1).on(note_login).on(note_logout)
}

/// The replica's table.
pub fn migration() -> Box<dyn MigrationTrait> {
    Box::new(CreateSession)
}

/// Why a session may not act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was ended, at this moment. That is final.
    Ended(Micros),
    Expired,
}

/// Whether a session may act as of a moment. One that is not known is fine as long as its access token is: its login may be on its way.
pub async fn judge(
    sessions: &Sessions,
    db: &impl ConnectionTrait,
    session: Id,
    as_of: Micros,
) -> Result<Option<Refused>> {
    let row = sessions.find(db, &session.to_string()).await?;
    Ok(row.and_then(|row| row.refused(as_of)).filter(|_| !without(Protection::SessionCheck)))
}

impl Model {
    fn refused(&self, as_of: Micros) -> Option<Refused> {
        if let Some(ended) = self.ended_at.filter(|ended| *ended <= as_of.0) {
            return Some(Refused::Ended(Micros(ended)));
        }
        self.expires_at.is_some_and(|expires| expires <= as_of.0).then_some(Refused::Expired)
    }
}

/// The replica's rows, for many callers at once.
pub type Sessions = Lookup<Entity>;

/// A session, as far as its events have come. Never a token.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "session")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: String,
    pub user_id: Option<String>,
    pub expires_at: Option<i64>,
    pub ended_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}

async fn note_login(cx: &mut Tx, login: LoginSuccess) -> Result<()> {
    let row = ActiveModel {
        session_id: Set(login.session_id),
        user_id: Set(Some(login.user_id)),
        expires_at: Set(Some(login.expires_at_us)),
        ended_at: Set(None),
    };
    put(cx, row, [Column::UserId, Column::ExpiresAt]).await
}

async fn note_logout(cx: &mut Tx, logout: LogoutSuccess) -> Result<()> {
    let row = ActiveModel {
        session_id: Set(logout.session_id),
        user_id: Set(Some(logout.user_id)),
        expires_at: Set(None),
        ended_at: Set(Some(logout.ended_at_us)),
    };
    put(cx, row, [Column::UserId, Column::EndedAt]).await
}

async fn put(cx: &mut Tx, row: ActiveModel, columns: [Column; 2]) -> Result<()> {
    let replace = OnConflict::column(Column::SessionId).update_columns(columns).to_owned();
    Entity::insert(row).on_conflict(replace).exec_without_returning(cx.write()).await.map_err(Error::from)?;
    Ok(())
}

struct CreateSession;

impl MigrationName for CreateSession {
    fn name(&self) -> &'static str {
        "m0002_create_session"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateSession {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("session")
            .col(string("session_id").primary_key())
            .col(string_null("user_id"))
            .col(big_integer_null("expires_at"))
            .col(big_integer_null("ended_at"))
            .to_owned();
        manager.create_table(table).await
    }
}
