//! Goes through a statement, and collects what it locks.

use super::{
    Effect, RowLock,
    advisory::AdvisoryCall,
    listed::ListedRows,
    table::{Table, folded, parts_of},
};
use crate::dialect::postgres::savepoints::SavepointChange;
use sqlparser::ast::{
    CaseWhen, Cte, Delete, Expr, FromTable, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, InTarget, Insert, JoinConstraint, JoinOperator, Lock, LockClause, Merge,
    MergeAction, ObjectName, OnConflictAction, OnInsert, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind, With,
};

/// Goes through a statement, and collects what it locks.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) effects: Vec<Effect>,
    /// The `WITH` queries that can be named here, and hide the tables of these names.
    ctes: Vec<String>,
}

impl Reader {
    pub(super) fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => self.query(query, &[]),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Merge(merge) => self.merge(merge),
            Statement::Lock(lock) => self.lock(lock),
            Statement::Savepoint { name } => self.savepoint(SavepointChange::Set(folded(name))),
            Statement::ReleaseSavepoint { name } => {
                self.savepoint(SavepointChange::Release(folded(name)));
            }
            Statement::Rollback { savepoint: Some(name), .. } => {
                self.savepoint(SavepointChange::RollBackTo(folded(name)));
            }
            _ => {}
        }
    }

    fn update(&mut self, update: &Update) {
        let from = match &update.from {
            Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => {
                from.as_slice()
            }
            None => &[],
        };
        self.tables(from, &[]);
        for assignment in &update.assignments {
            self.subqueries(&assignment.value);
        }
        self.listed(&update.table.relation, from, update.selection.as_ref());
        self.rows(&update.table.relation, from.is_empty(), update.selection.as_ref());
    }

    fn delete(&mut self, delete: &Delete) {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let using = delete.using.as_deref().unwrap_or_default();
        self.tables(using, &[]);
        if let [target] = from.as_slice() {
            self.listed(&target.relation, using, delete.selection.as_ref());
            self.rows(&target.relation, using.is_empty(), delete.selection.as_ref());
        }
    }

    fn listed(&mut self, target: &TableFactor, from: &[TableWithJoins], condition: Option<&Expr>) {
        let listed = ListedRows::of_join(target, from, condition);
        self.effects.extend(listed.map(Effect::Listed));
    }

    /// The rows of a target, after those that the search for them locks.
    fn rows(&mut self, target: &TableFactor, is_alone: bool, selection: Option<&Expr>) {
        if let Some(selection) = selection {
            self.subqueries(selection);
        }
        if let Some(table) = Table::of(target) {
            self.effects.push(Effect::Rows(table.lock(is_alone, selection, true)));
        }
    }

    fn insert(&mut self, insert: &Insert) {
        if let Some(source) = &insert.source {
            self.query(source, &[]);
        }
        let listed = ListedRows::of_insert(insert);
        let key = listed.as_ref().and_then(ListedRows::only_key);
        self.effects.extend(listed.map(Effect::Listed));
        if let (Some(OnInsert::OnConflict(on)), TableObject::TableName(name)) =
            (&insert.on, &insert.table)
            && matches!(on.action, OnConflictAction::DoUpdate(_))
        {
            let lock = Table { name, alias: None }.lock(false, None, true);
            self.effects.push(Effect::Rows(RowLock { key, ..lock }));
        }
    }

    fn merge(&mut self, merge: &Merge) {
        self.table(&merge.source, &[]);
        // What is inserted, or left alone, isn't locked.
        let locks = merge.clauses.iter().any(|clause| {
            matches!(clause.action, MergeAction::Update(_) | MergeAction::Delete { .. })
        });
        if let (true, Some(table)) = (locks, Table::of(&merge.table)) {
            self.effects.push(Effect::Rows(table.lock(false, None, true)));
        }
    }

    fn lock(&mut self, lock: &Lock) {
        for target in &lock.tables {
            let table = Table { name: &target.name, alias: None };
            self.effects.push(Effect::Rows(table.lock(false, None, !lock.nowait)));
        }
    }

    fn savepoint(&mut self, change: SavepointChange) {
        self.effects.push(Effect::Savepoint(change));
    }

    /// A query, with the clauses of the query that it is a table of.
    fn query(&mut self, query: &Query, outer: &[Clause<'_>]) {
        let known = self.ctes.len();
        if let Some(with) = &query.with {
            self.with(with);
        }
        let own = query.locks.iter().map(Clause::from);
        let clauses: Vec<_> = outer.iter().copied().chain(own).collect();
        self.body(&query.body, &clauses);
        self.ctes.truncate(known);
    }

    fn with(&mut self, with: &With) {
        let name = |cte: &Cte| folded(&cte.alias.name);
        if with.recursive {
            self.ctes.extend(with.cte_tables.iter().map(name));
        }
        for cte in &with.cte_tables {
            self.query(&cte.query, &[]);
            // Only now: `WITH orders AS (SELECT … FROM orders)` reads the table.
            self.ctes.push(name(cte));
        }
    }

    fn body(&mut self, body: &SetExpr, clauses: &[Clause<'_>]) {
        match body {
            SetExpr::Select(select) => self.select(select, clauses),
            SetExpr::Query(query) => self.query(query, clauses),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => self.statement(statement),
            // PostgreSQL refuses a locking clause behind them; their parts may have some of their own.
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, &[]);
                self.body(right, &[]);
            }
            SetExpr::Values(_) | SetExpr::Table(_) => {}
        }
    }

    fn select(&mut self, select: &Select, clauses: &[Clause<'_>]) {
        self.tables(&select.from, clauses);
        for item in &select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                self.subqueries(expr);
            }
        }
        if let Some(selection) = &select.selection {
            self.subqueries(selection);
        }
        let factors = factors(&select.from);
        for table in factors.iter().filter_map(|factor| Table::of(factor)) {
            let Some(waits) = waits(clauses, &table.called()) else { continue };
            if !self.is_cte(table.name) {
                self.effects.push(Effect::Rows(table.lock(
                    factors.len() == 1,
                    select.selection.as_ref(),
                    waits,
                )));
            }
        }
    }

    /// What the subqueries among tables, and the conditions that join them, lock: before the query around them locks.
    fn tables(&mut self, from: &[TableWithJoins], clauses: &[Clause<'_>]) {
        for factor in factors(from) {
            self.table(factor, clauses);
        }
        for join in from.iter().flat_map(|table| &table.joins) {
            if let Some(JoinConstraint::On(condition)) = constraint(&join.join_operator) {
                self.subqueries(condition);
            }
        }
    }

    fn table(&mut self, factor: &TableFactor, clauses: &[Clause<'_>]) {
        if let TableFactor::Derived { subquery, alias, .. } = factor {
            let called = alias.as_ref().map(|alias| folded(&alias.name)).unwrap_or_default();
            let inner = clauses.iter().filter(|clause| clause.covers(&called));
            let inner: Vec<_> = inner.map(|clause| Clause { of: None, ..*clause }).collect();
            self.query(subquery, &inner);
        }
        self.effects.extend(AdvisoryCall::of_table(factor).map(Effect::Advisory));
    }

    /// What the queries in an expression lock. It has no recursion, since chains of operators may be long.
    fn subqueries(&mut self, expr: &Expr) {
        let mut todo = vec![expr];
        while let Some(expr) = todo.pop() {
            let (operands, query) = parts(expr);
            if let Some(query) = query {
                self.query(query, &[]);
            }
            if let Expr::Function(function) = expr {
                self.effects.extend(AdvisoryCall::of(function).map(Effect::Advisory));
            }
            todo.extend(operands.into_iter().rev());
        }
    }

    fn is_cte(&self, name: &ObjectName) -> bool {
        matches!(parts_of(name).as_slice(), [name] if self.ctes.contains(name))
    }
}

/// What an expression is made of, as far as people put queries there.
fn parts(expr: &Expr) -> (Vec<&Expr>, Option<&Query>) {
    match expr {
        Expr::Subquery(query) | Expr::Exists { subquery: query, .. } => (vec![], Some(query)),
        Expr::In { expr, target: InTarget::Subquery(query), .. } => (vec![expr], Some(query)),
        Expr::BinaryOp { left, right, .. }
        | Expr::AnyOp { left, right, .. }
        | Expr::AllOp { left, right, .. } => (vec![left, right], None),
        Expr::Nested(expr)
        | Expr::UnaryOp { expr, .. }
        | Expr::Cast { expr, .. }
        | Expr::IsNull(expr)
        | Expr::IsNotNull(expr) => (vec![expr], None),
        Expr::Tuple(exprs) => (exprs.iter().collect(), None),
        Expr::Case { operand, conditions, else_result, .. } => {
            let when =
                conditions.iter().flat_map(|CaseWhen { condition, result }| [condition, result]);
            (
                operand.as_deref().into_iter().chain(when).chain(else_result.as_deref()).collect(),
                None,
            )
        }
        Expr::Function(function) => arguments(function),
        _ => (vec![], None),
    }
}

/// `ARRAY(SELECT …)` is a function, for the parser.
pub(super) fn arguments(function: &Function) -> (Vec<&Expr>, Option<&Query>) {
    match &function.args {
        FunctionArguments::None => (vec![], None),
        FunctionArguments::Subquery(query) => (vec![], Some(query)),
        FunctionArguments::List(list) => {
            let exprs = list.args.iter().filter_map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            });
            (exprs.collect(), None)
        }
    }
}

/// A locking clause.
#[derive(Clone, Copy)]
struct Clause<'a> {
    of: Option<&'a ObjectName>,
    waits: bool,
}

impl<'a> From<&'a LockClause> for Clause<'a> {
    fn from(clause: &'a LockClause) -> Self {
        Self { of: clause.of.as_ref(), waits: clause.nonblock.is_none() }
    }
}

impl Clause<'_> {
    fn covers(&self, called: &String) -> bool {
        self.of.is_none_or(|of| parts_of(of).contains(called))
    }
}

/// Whether a table's rows are waited for; `None` where no clause locks them. Where several clauses are about a table, one that
/// doesn't wait is enough.
fn waits(clauses: &[Clause<'_>], called: &String) -> Option<bool> {
    let covering = clauses.iter().filter(|clause| clause.covers(called));
    covering.map(|clause| clause.waits).reduce(|one, other| one && other)
}

/// All that stands in `FROM`, in its order.
fn factors(from: &[TableWithJoins]) -> Vec<&TableFactor> {
    let mut factors = Vec::new();
    for table in from {
        let joined = table.joins.iter().map(|join| &join.relation);
        for factor in std::iter::once(&table.relation).chain(joined) {
            match factor {
                TableFactor::NestedJoin { table_with_joins: nested, .. } => {
                    factors.extend(self::factors(std::slice::from_ref(nested)));
                }
                factor => factors.push(factor),
            }
        }
    }
    factors
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Some(constraint),
        // Other databases have these.
        _ => None,
    }
}
