//! Keyset pages in SQL.

use sea_orm::sea_query::{Asterisk, Expr, ExprTrait, Query, SelectStatement, SimpleExpr, UnionType};
use sea_orm::{
    ColumnTrait, ColumnType, EntityTrait, IntoSimpleExpr, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    Select,
};

use crate::contract::{Cursor, CursorKey, Direction, Page, PageRequest, check};
use crate::engine::{FromRow, Operation};
use crate::{Error, Result};

/// A list's order: its name, which cursors carry, its sort keys (NOT NULL, the last one unique), and its direction.
pub(super) struct Listing<C, const N: usize> {
    pub(super) name: &'static str,
    pub(super) keys: [C; N],
    pub(super) direction: Direction,
}

impl<C: ColumnTrait, const N: usize> Listing<C, N> {
    /// One page of `select` in this order; `keys_of` answers a row's sort keys.
    pub(super) async fn page<E, M>(
        &self,
        db: &Operation,
        select: Select<E>,
        request: &PageRequest,
        keys_of: impl Fn(&M) -> [CursorKey; N],
    ) -> Result<Page<M>>
    where
        E: EntityTrait,
        M: FromRow,
    {
        request.check()?;
        let items = db.all_as(self.select(select, request)?).await?;
        Ok(self.cut(items, request, keys_of))
    }

    /// One page of the rows of two selects that have none in common, in one statement: a page of each, read off an index,
    /// and out of these the page. (With OR between them, or with one order and limit for both, Postgres would collect
    /// and sort all that they find.)
    pub(super) async fn page_of_both<E, M>(
        &self,
        db: &Operation,
        [one, other]: [Select<E>; 2],
        request: &PageRequest,
        keys_of: impl Fn(&M) -> [CursorKey; N],
    ) -> Result<Page<M>>
    where
        E: EntityTrait,
        M: FromRow,
    {
        request.check()?;
        let part = |select| -> Result<SelectStatement> {
            let page = self.select(select, request)?.into_query();
            Ok(Query::select().column(Asterisk).from_subquery(page, "part").to_owned())
        };
        let mut query = part(one)?;
        query.union(UnionType::All, part(other)?);
        for key in self.keys {
            // Without the table's name: the order is that of the union.
            query.order_by(key, self.order());
        }
        let mut both = E::find();
        *QueryTrait::query(&mut both) = query;
        let items = db.all_as(both.limit(rows_of(request))).await?;
        Ok(self.cut(items, request, keys_of))
    }

    /// The select's rows of one page, in order, and one more.
    fn select<E: EntityTrait>(&self, select: Select<E>, request: &PageRequest) -> Result<Select<E>> {
        let mut select = select;
        if let Some(keys) = self.place(request)? {
            select = select.filter(self.after(keys)?);
        }
        for key in self.keys {
            select = select.order_by(key, self.order());
        }
        Ok(select.limit(rows_of(request)))
    }

    /// The page out of the rows, of which there is one too many if it is not the last.
    fn cut<M>(&self, mut items: Vec<M>, request: &PageRequest, keys_of: impl Fn(&M) -> [CursorKey; N]) -> Page<M> {
        let limit = request.limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        let next = last.map(|last| Cursor::new(self.cursor_name(), keys_of(last).into()));
        Page { items, next }
    }

    /// The sort keys of the row that the page comes after, if it is not the first one.
    ///
    /// A list with a bound of its own on a sort key leaves that out where the place is past it: of two bounds on one
    /// column SQLite searches by the first and reads every row between them.
    pub(super) fn place<'a>(&self, request: &'a PageRequest) -> Result<Option<&'a [CursorKey]>> {
        let cursor = request.after.as_ref();
        cursor.map(|cursor| cursor.keys_for(&self.cursor_name())).transpose()
    }

    /// The order is a part of the name: a cursor stands for a place only in the order that it was made in.
    fn cursor_name(&self) -> String {
        let keys = self.keys.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(",");
        match self.direction {
            Direction::Ascending => format!("{} {keys}", self.name),
            Direction::Descending => format!("{} {keys} desc", self.name),
        }
    }

    fn order(&self) -> Order {
        match self.direction {
            Direction::Ascending => Order::Asc,
            Direction::Descending => Order::Desc,
        }
    }

    /// Row values compare the keys one after the other, and an index over them finds the place (SQLite: "Row Values";
    /// Postgres: 9.25.5 "Row Constructor Comparison").
    fn after(&self, keys: &[CursorKey]) -> Result<SimpleExpr> {
        if keys.len() != N || !self.keys.iter().zip(keys).all(|(column, key)| fits(column, key)) {
            return Err(Error::invalid("cursor", "does not have the keys of its list"));
        }
        keys.iter().try_for_each(storable)?;
        let columns = Expr::tuple(self.keys.iter().map(|key| key.into_simple_expr()));
        let place = Expr::tuple(keys.iter().map(value));
        Ok(match self.direction {
            Direction::Ascending => columns.gt(place),
            Direction::Descending => columns.lt(place),
        })
    }
}

/// As many as a page has, and one more, to know whether there is a next page.
fn rows_of(request: &PageRequest) -> u64 {
    u64::from(request.limit) + 1
}

fn fits<C: ColumnTrait>(column: &C, key: &CursorKey) -> bool {
    matches!(
        (column.def().get_column_type(), key),
        (ColumnType::Text | ColumnType::String(_), CursorKey::Text(_))
            | (ColumnType::BigInteger, CursorKey::Number(_))
            | (ColumnType::TimestampWithTimeZone, CursorKey::Instant(_))
            | (ColumnType::Uuid, CursorKey::Id(_))
    )
}

/// A cursor that somebody made up can hold what no row does, and the databases would take it differently.
fn storable(key: &CursorKey) -> Result<()> {
    match key {
        CursorKey::Text(text) => check::text("cursor", text),
        CursorKey::Instant(instant) => check::instant("cursor", *instant),
        CursorKey::Number(_) | CursorKey::Id(_) => Ok(()),
    }
}

fn value(key: &CursorKey) -> SimpleExpr {
    match key {
        CursorKey::Text(text) => Expr::val(text.as_str()),
        CursorKey::Number(number) => Expr::val(*number),
        CursorKey::Instant(instant) => Expr::val(*instant),
        CursorKey::Id(id) => Expr::val(*id),
    }
}
