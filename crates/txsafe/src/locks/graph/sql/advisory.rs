//! Advisory locks that a statement takes by calling functions.
//! Source: PostgreSQL manual, section 9.27.10, "Advisory Lock Functions".

use super::{
    KeySource,
    reader::arguments,
    table::{folded, key_source},
};
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, ObjectName, TableFactor};

/// What a call does to an advisory lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AdvisoryCall {
    pub(crate) does: Does,
    /// It is the session's, and neither COMMIT nor ROLLBACK gives it back.
    pub(crate) is_sessions: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Does {
    Lock { lock: LockName, waits: bool },
    Unlock(LockName),
    UnlockAll,
}

/// How a call says which lock it means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LockName {
    /// By one number.
    One(KeySource),
    /// By two, of which the first one is known.
    Two(KeySource, Option<KeySource>),
    /// By something that is computed, as it is written.
    Computed(String),
}

impl AdvisoryCall {
    /// What a function does when it is called.
    pub(super) fn of(function: &Function) -> Option<Self> {
        Self::named(&function.name, || arguments(function).0)
    }

    /// What a function in FROM does.
    pub(super) fn of_table(factor: &TableFactor) -> Option<Self> {
        let (name, args) = match factor {
            TableFactor::Table { name, args: Some(args), .. } => (name, &args.args),
            TableFactor::Function { name, args, .. } => (name, args),
            _ => return None,
        };
        let expr = |arg| match arg {
            &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
            _ => None,
        };
        Self::named(name, || args.iter().filter_map(expr).collect())
    }

    fn named<'e>(name: &ObjectName, arguments: impl FnOnce() -> Vec<&'e Expr>) -> Option<Self> {
        let name = folded(name.0.last()?.as_ident()?);
        let rest = name.strip_prefix("pg_")?;
        let (waits, rest) = match rest.strip_prefix("try_") {
            Some(rest) => (false, rest),
            None => (true, rest),
        };
        let rest = rest.strip_prefix("advisory_")?;
        let (is_sessions, rest) = match rest.strip_prefix("xact_") {
            Some(rest) => (false, rest),
            None => (true, rest),
        };
        let does = match rest {
            "lock" | "lock_shared" => Does::Lock { lock: LockName::of(&arguments())?, waits },
            "unlock" | "unlock_shared" => Does::Unlock(LockName::of(&arguments())?),
            "unlock_all" => Does::UnlockAll,
            _ => return None,
        };
        Some(Self { does, is_sessions })
    }
}

impl LockName {
    fn of(arguments: &[&Expr]) -> Option<Self> {
        match arguments {
            [one] => Some(match key_source(one) {
                Some(key) => Self::One(key),
                None => Self::Computed(one.to_string()),
            }),
            [first, second] => Some(match key_source(first) {
                Some(first) => Self::Two(first, key_source(second)),
                None => Self::Computed(format!("{first}, {second}")),
            }),
            _ => None,
        }
    }
}
