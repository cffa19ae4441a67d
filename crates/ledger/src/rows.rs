use std::any::{Any, TypeId};
use std::collections::BTreeMap;

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveModelTrait, EntityTrait, Iterable as _};

use crate::store::writes::Writes;

/// Rows of projections, kept until the end of the transaction and then written once per table. The last row under a name wins.
#[derive(Default)]
pub struct Rows {
    tables: BTreeMap<TypeId, Box<dyn Table>>,
    /// Also what is `Unchanged` is written again: what makes it may have changed.
    pub(crate) anew: bool,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rows of {} tables", self.tables.len())
    }
}

impl Rows {
    /// Writes the row, or replaces what is `Set` in it. What never changes is better `Unchanged`: SQLite would write every index on it again.
    /// `name` tells rows of one table apart as their primary key does.
    pub fn put<M>(&mut self, name: impl Into<String>, row: M)
    where
        M: ActiveModelTrait + Send + Sync + 'static,
        M::Entity: EntityTrait<ActiveModel = M>,
    {
        let table = self.tables.entry(TypeId::of::<M>()).or_insert_with(|| Box::new(Buffer::<M>::default()));
        let any: &mut dyn Any = table.as_mut();
        if let Some(buffer) = any.downcast_mut::<Buffer<M>>() {
            buffer.rows.insert(name.into(), row);
        }
    }

    pub(crate) fn write(self, writes: &mut Writes) {
        for table in self.tables.into_values() {
            table.write(writes, self.anew);
        }
    }
}

trait Table: Any + Send + Sync {
    fn write(self: Box<Self>, writes: &mut Writes, anew: bool);
}

struct Buffer<M> {
    rows: BTreeMap<String, M>,
}

impl<M> Default for Buffer<M> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<M> Table for Buffer<M>
where
    M: ActiveModelTrait + Send + Sync + 'static,
    M::Entity: EntityTrait<ActiveModel = M>,
{
    fn write(self: Box<Self>, writes: &mut Writes, anew: bool) {
        let primary: Vec<_> =
            <M::Entity as EntityTrait>::PrimaryKey::iter().map(sea_orm::PrimaryKeyToColumn::into_column).collect();
        let is_primary = |column: &<M::Entity as EntityTrait>::Column| {
            primary.iter().any(|key| sea_orm::IdenStatic::as_str(key) == sea_orm::IdenStatic::as_str(column))
        };
        let changes = |column: &<M::Entity as EntityTrait>::Column| {
            !is_primary(column) && (anew || self.rows.values().any(|row| row.get(*column).is_set()))
        };
        let changing: Vec<_> = <M::Entity as EntityTrait>::Column::iter().filter(changes).collect();
        let mut replace = OnConflict::columns(primary.iter().copied());
        if changing.is_empty() {
            replace.do_nothing()
        } else {
            replace.update_columns(changing)
        };
        writes.put(self.rows.into_values(), Some(replace));
    }
}
