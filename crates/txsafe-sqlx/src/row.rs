//! Rows that can be locked, read as SQLx reads them.

use sqlx::{FromRow, postgres::PgRow};
use txsafe::Ranked;

/// A row type that can be locked: SQLx reads it, and it [belongs to a rank](txsafe::ranked).
pub trait Row: Ranked + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static {}

impl<T> Row for T where T: Ranked + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static {}
