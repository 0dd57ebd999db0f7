//! A table as a statement names it, and what tells one of its rows.

use super::{KeySource, RowLock};
use sqlparser::ast::{
    BinaryOperator, Expr, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor, TypedString,
    UnaryOperator, Value,
};

/// A table, as a statement names it.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) name: &'a ObjectName,
    pub(super) alias: Option<&'a Ident>,
}

impl<'a> Table<'a> {
    pub(super) fn of(factor: &'a TableFactor) -> Option<Self> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                Some(Self { name, alias: alias.as_ref().map(|TableAlias { name, .. }| name) })
            }
            _ => None,
        }
    }

    pub(super) fn lock(self, is_alone: bool, selection: Option<&Expr>, waits: bool) -> RowLock {
        let key = selection.and_then(|selection| self.key(is_alone, selection));
        RowLock { table: self.in_catalog(), key, waits }
    }

    /// See [`RowLock::table`].
    pub(super) fn in_catalog(self) -> String {
        let parts = parts_of(self.name);
        match parts.as_slice() {
            [schema, table] if schema == "public" => table.clone(),
            parts => parts.join("."),
        }
    }

    /// How the rest of the statement calls it.
    pub(super) fn called(self) -> String {
        match self.alias {
            Some(alias) => folded(alias),
            None => parts_of(self.name).pop().unwrap_or_default(),
        }
    }

    /// The column `id` before others, which may have one value in many rows.
    fn key(self, is_alone: bool, selection: &Expr) -> Option<KeySource> {
        let mut first = None;
        for (column, key) in equalities(selection) {
            let Some((column, qualifier)) = column.split_last() else { continue };
            if !(qualifier.is_empty() && is_alone || self.is_called(qualifier)) {
                continue;
            }
            if folded(column) == "id" {
                return Some(key);
            }
            first.get_or_insert(key);
        }
        first
    }

    pub(super) fn is_called(self, qualifier: &[Ident]) -> bool {
        let qualifier: Vec<_> = qualifier.iter().map(folded).collect();
        match self.alias {
            Some(alias) => qualifier == [folded(alias)],
            None => !qualifier.is_empty() && parts_of(self.name).ends_with(&qualifier),
        }
    }
}

/// The columns which, for all rows that a condition selects, equal something that is known.
fn equalities(condition: &Expr) -> Vec<(&[Ident], KeySource)> {
    let known = |(column, value)| Some((column_of(column)?, key_source(value)?));
    let pairs = equal_pairs(condition).into_iter();
    pairs.filter_map(|(one, other)| known((one, other)).or_else(|| known((other, one)))).collect()
}

/// What equals what, for all rows that a condition selects.
pub(super) fn equal_pairs(condition: &Expr) -> Vec<(&Expr, &Expr)> {
    let mut found = Vec::new();
    let mut todo = vec![condition];
    while let Some(condition) = todo.pop() {
        match unparenthesized(condition) {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                todo.extend([&**right, left])
            }
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                found.push((&**left, &**right));
            }
            _ => {}
        }
    }
    found
}

fn unparenthesized(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

pub(super) fn column_of(expr: &Expr) -> Option<&[Ident]> {
    match unparenthesized(expr) {
        Expr::Identifier(column) => Some(std::slice::from_ref(column)),
        Expr::CompoundIdentifier(names) => Some(names),
        _ => None,
    }
}

/// Something that is known before the statement runs.
pub(super) fn key_source(expr: &Expr) -> Option<KeySource> {
    match uncast(expr) {
        Expr::Value(value) | Expr::TypedString(TypedString { value, .. }) => known(&value.value),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match key_source(expr)? {
            KeySource::Literal(number) if is_natural(&number) => {
                Some(KeySource::Literal(format!("-{number}")))
            }
            KeySource::Literal(_) | KeySource::Bind(_) => None,
        },
        _ => None,
    }
}

pub(super) fn uncast(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) | Expr::Cast { expr: inner, .. } = expr {
        expr = inner;
    }
    expr
}

fn known(value: &Value) -> Option<KeySource> {
    match value {
        Value::Placeholder(name) => {
            let number: usize = name.strip_prefix('$')?.parse().ok()?;
            number.checked_sub(1).map(KeySource::Bind)
        }
        Value::Number(number, _) if is_natural(number) => {
            let digits = number.trim_start_matches('0');
            Some(KeySource::Literal(if digits.is_empty() { "0" } else { digits }.to_owned()))
        }
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
            Some(KeySource::Literal(text.clone()))
        }
        Value::DollarQuotedString(text) => Some(KeySource::Literal(text.value.clone())),
        _ => None,
    }
}

fn is_natural(number: &str) -> bool {
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn parts_of(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect()
}

/// A name as the catalog has it. Source: PostgreSQL manual, section 4.1.1, "Identifiers and Key Words".
pub(super) fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}
