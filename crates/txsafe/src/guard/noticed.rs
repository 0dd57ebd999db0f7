//! What the statements of a transaction reveal about its locks and savepoints. Findings are kept until the poll has ended, because
//! a statement runs in the midst of what the guard examines then.

use super::{
    code::Code,
    report::{Seen, Where},
    scope::scope,
};
use crate::{
    dialect::words::shortened,
    locks::graph::{attempt::Noticed, inversion::Inversion},
};
use tracing::warn;

/// Bulk writes are long: their SQL is cut here, in bytes.
const SQL_BYTES: usize = 200;

/// Something was noticed by the code that runs. In a transaction it is a finding; of one that is seen from outside, or begun by
/// hand, an event says it.
pub(crate) fn noticed(noticed: Noticed<'_>) {
    match noticed {
        Noticed::Inversion(inversion) => lock_inversion(inversion),
        Noticed::UnsortedRows { table, columns, sql } => {
            let columns = columns.join("`, `");
            let what = format!(
                "`{}` locks rows of `{table}` in the order in which they are listed, and they aren't sorted by `{columns}`",
                shortened(sql.to_owned(), SQL_BYTES),
            );
            keep(Code::UnsortedRows, what, table.to_owned());
        }
        Noticed::Subtransactions(cheap) => {
            let what = format!(
                "more than {cheap} savepoints have written and weren't rolled back: from here on until its end, other \
                 transactions pay for looking at rows"
            );
            keep(Code::ManySubtransactions, what, "savepoints".to_owned());
        }
    }
}

/// Locks were wanted in an order that can deadlock; in transactions, or between orders that are declared.
pub(crate) fn lock_inversion(inversion: &Inversion) {
    metrics::counter!("txsafe_lock_inversions_total").increment(1);
    let (from, to) = inversion.classes();
    keep(Code::LockInversion, inversion.to_string(), format!("{from}, {to}"));
}

fn keep(code: Code, what: String, subject: String) {
    match scope() {
        Some(scope) => {
            scope.kept.push(Seen { code, what, subject, site: Where::Unknown, waited: None });
        }
        None => warn!("{} {}: {what}: {}", code.as_str(), code.title(), code.help()),
    }
}
