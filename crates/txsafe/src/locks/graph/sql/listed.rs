//! Rows that a statement locks in the order in which its caller lists them.
//!
//! PostgreSQL inserts rows as they come, and a nested loop over a list follows the list. With `id = ANY ($1)` or `IN (…)` it sorts
//! the keys itself, or goes by the table, so those aren't here.

use super::{
    KeySource,
    table::{Table, column_of, equal_pairs, folded, key_source, uncast},
};
use crate::locks::graph::log::BindKey;
use sqlparser::ast::{
    ConflictTarget, Expr, Function, GroupByExpr, Ident, Insert, OnConflictAction, OnInsert, Query,
    Select, SelectItem, SetExpr, TableFactor, TableObject, TableWithJoins,
};

/// So many rows are looked at: whatever isn't sorted shows it among the first.
const MOST_ROWS: usize = 16;

/// Rows that a statement locks in the order in which they are listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ListedRows {
    pub(crate) table: String,
    /// What tells a row: the columns of a conflict's target, or the one that is joined by.
    pub(crate) columns: Vec<String>,
    values: Vec<Values>,
    /// Rows that are there already are left alone, and only those are waited for that somebody else inserts.
    inserts_only: bool,
}

/// The values of one column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Values {
    Each(Vec<Option<KeySource>>),
    Array(KeySource),
}

/// How rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sorted {
    Ascending,
    Descending,
    /// Neither, by whichever of the columns first.
    Not,
}

impl ListedRows {
    /// The rows of an INSERT that expects that some are there already.
    pub(super) fn of_insert(insert: &Insert) -> Option<Self> {
        let (Some(OnInsert::OnConflict(on)), TableObject::TableName(name)) =
            (&insert.on, &insert.table)
        else {
            return None;
        };
        let Some(ConflictTarget::Columns { columns, .. }) = &on.conflict_target else {
            return None;
        };
        let source = insert.source.as_deref().filter(|source| source.order_by.is_none())?;
        let values = columns.iter().map(|column| {
            let is_it = |name: &sqlparser::ast::ObjectName| {
                name.0.last().and_then(|part| part.as_ident()).map(folded) == Some(folded(column))
            };
            let position = match insert.columns.iter().position(is_it) {
                // A key stands first, nearly always.
                None if insert.columns.is_empty() && columns.len() == 1 => 0,
                position => position?,
            };
            of_source(source, position)
        });
        Some(Self {
            table: Table { name, alias: None }.in_catalog(),
            columns: columns.iter().map(folded).collect(),
            values: values.collect::<Option<_>>()?,
            inserts_only: matches!(on.action, OnConflictAction::DoNothing),
        })
    }

    /// The rows of a target that is joined to a list of rows.
    pub(super) fn of_join(
        target: &TableFactor,
        from: &[TableWithJoins],
        condition: Option<&Expr>,
    ) -> Option<Self> {
        let [TableWithJoins { relation, joins }] = from else { return None };
        let list = List::of(relation).filter(|_| joins.is_empty())?;
        let table = Table::of(target)?;
        let joined = |(one, other): &(&Expr, &Expr)| {
            let (column, qualifier) = column_of(one)?.split_last()?;
            let is_of_target = table.is_called(qualifier);
            is_of_target
                .then(|| list.column(other))
                .flatten()
                .map(|values| (folded(column), values))
        };
        let pairs = equal_pairs(condition?);
        let mut pairs = pairs.iter().flat_map(|&(one, other)| [(one, other), (other, one)]);
        let (column, values) = pairs.find_map(|pair| joined(&pair))?;
        Some(Self {
            table: table.in_catalog(),
            columns: vec![column],
            values: vec![values],
            inserts_only: false,
        })
    }

    /// The key of the row, if it is one, told by one column.
    pub(super) fn only_key(&self) -> Option<KeySource> {
        match self.values.as_slice() {
            [Values::Each(rows)] if rows.len() == 1 => rows[0].clone(),
            _ => None,
        }
    }

    /// How the rows are sorted; `None` where nobody knows, or it doesn't matter.
    pub(crate) fn sorted(&self, bind: impl Fn(usize) -> Option<BindKey>) -> Option<Sorted> {
        let columns = self.values.iter().map(|values| values.known(&bind));
        let columns = columns.collect::<Option<Vec<_>>>()?;
        let many = columns.iter().map(Vec::len).min()?;
        // A new key that was made at random is nobody else's.
        if many < 2 || (self.inserts_only && columns.iter().flatten().any(is_random)) {
            return None;
        }
        let row = |n: usize, first: usize| {
            let (before, from) = columns.split_at(first);
            from.iter().chain(before).map(move |column| &column[n])
        };
        let is_any = |rises: bool| {
            (0..columns.len()).any(|first| {
                (1..many).all(|n| {
                    let (before, now) = (row(n - 1, first), row(n, first));
                    if rises { before.le(now) } else { before.ge(now) }
                })
            })
        };
        match (is_any(true), is_any(false)) {
            // All the same.
            (true, true) => None,
            (true, false) => Some(Sorted::Ascending),
            (false, true) => Some(Sorted::Descending),
            (false, false) => Some(Sorted::Not),
        }
    }
}

impl Values {
    fn known(&self, bind: impl Fn(usize) -> Option<BindKey>) -> Option<Vec<BindKey>> {
        let keys: Vec<_> = match self {
            Self::Each(rows) => {
                let key = |row: &Option<KeySource>| match row.as_ref()? {
                    KeySource::Bind(n) => bind(*n),
                    KeySource::Literal(text) => Some(of_text(text)),
                };
                rows.iter().map(key).collect::<Option<_>>()?
            }
            Self::Array(KeySource::Bind(n)) => match bind(*n)? {
                BindKey::List(keys) => keys.into_iter().take(MOST_ROWS).collect(),
                BindKey::Integer(_) | BindKey::Bytes(_) => return None,
            },
            Self::Array(KeySource::Literal(text)) => {
                let elements = text.strip_prefix('{')?.strip_suffix('}')?.split(',');
                elements.take(MOST_ROWS).map(|element| of_text(element.trim())).collect()
            }
        };
        // Their texts don't sort as they do.
        let is_fraction = |key: &BindKey| match key {
            BindKey::Bytes(bytes) => {
                bytes.contains(&b'.')
                    && bytes.iter().all(|byte| byte.is_ascii_digit() || b".-".contains(byte))
            }
            BindKey::Integer(_) | BindKey::List(_) => false,
        };
        (!keys.iter().any(is_fraction)).then_some(keys)
    }
}

fn of_text(text: &str) -> BindKey {
    match text.parse() {
        Ok(number) => BindKey::Integer(number),
        Err(_) => BindKey::Bytes(text.as_bytes().to_vec()),
    }
}

/// Whether it looks like a UUID, as bytes or as text.
fn is_random(key: &BindKey) -> bool {
    match key {
        BindKey::Bytes(bytes) => {
            bytes.len() == 16
                || (bytes.len() == 36 && bytes.iter().filter(|byte| **byte == b'-').count() == 4)
        }
        BindKey::Integer(_) | BindKey::List(_) => false,
    }
}

/// What a query returns in one column, row by row, if the rows come as they are listed.
fn of_source(query: &Query, position: usize) -> Option<Values> {
    match &*query.body {
        SetExpr::Values(values) => {
            let rows = values.rows.iter().take(MOST_ROWS);
            Some(Values::Each(
                rows.map(|row| row.content.get(position).and_then(key_source)).collect(),
            ))
        }
        SetExpr::Select(select) => of_select(select, position),
        SetExpr::Query(query) if query.order_by.is_none() => of_source(query, position),
        _ => None,
    }
}

fn of_select(select: &Select, position: usize) -> Option<Values> {
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if select.distinct.is_some() || is_grouped {
        return None;
    }
    let list = match select.from.as_slice() {
        [] => List(Vec::new()),
        [TableWithJoins { relation, joins }] if joins.is_empty() => List::of(relation)?,
        _ => return None,
    };
    match select.projection.as_slice() {
        [SelectItem::Wildcard(_)] => list.0.into_iter().nth(position).map(|(_, values)| values),
        items => match items.get(position)? {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                list.column(expr)
            }
            _ => None,
        },
    }
}

/// A list of rows in FROM: what its columns are called, with their table and without, and what is in them.
struct List(Vec<([Vec<String>; 2], Values)>);

impl List {
    fn of(factor: &TableFactor) -> Option<Self> {
        let (alias, columns) = match factor {
            TableFactor::UNNEST { array_exprs, alias, .. } => {
                (alias.as_ref(), array_exprs.iter().map(of_array).collect::<Option<Vec<_>>>()?)
            }
            TableFactor::Derived { subquery, alias, .. } if subquery.order_by.is_none() => {
                let SetExpr::Values(values) = &*subquery.body else { return None };
                let many = values.rows.first()?.content.len();
                let columns = (0..many).map(|n| of_source(subquery, n));
                (alias.as_ref(), columns.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        let table = alias.map_or_else(|| "unnest".to_owned(), |alias| folded(&alias.name));
        let is_scalar = columns.len() == 1;
        let named = columns.into_iter().enumerate().map(|(n, values)| {
            let name = match alias.and_then(|alias| alias.columns.get(n)) {
                Some(column) => folded(&column.name),
                None if is_scalar => table.clone(),
                None => format!("column{}", n + 1),
            };
            ([vec![table.clone(), name.clone()], vec![name]], values)
        });
        Some(Self(named.collect()))
    }

    /// What an expression has, row by row.
    fn column(&self, expr: &Expr) -> Option<Values> {
        match uncast(expr) {
            Expr::Function(function) => of_unnest(function),
            expr => {
                let name: Vec<_> =
                    column_of(expr)?.iter().map(|part: &Ident| folded(part)).collect();
                let is_it = |(names, _): &&([Vec<String>; 2], Values)| names.contains(&name);
                self.0.iter().find(is_it).map(|(_, values)| values.clone())
            }
        }
    }
}

/// `unnest(…)`, where it isn't in FROM.
fn of_unnest(function: &Function) -> Option<Values> {
    let name = folded(function.name.0.last()?.as_ident()?);
    match super::reader::arguments(function).0.as_slice() {
        [array] if name == "unnest" => of_array(array),
        _ => None,
    }
}

fn of_array(expr: &Expr) -> Option<Values> {
    match uncast(expr) {
        Expr::Array(array) => {
            Some(Values::Each(array.elem.iter().take(MOST_ROWS).map(key_source).collect()))
        }
        expr => key_source(expr).map(Values::Array),
    }
}

#[cfg(test)]
mod tests;
