//! Which rows a statement waits for, as far as its text says so.
//! Source: PostgreSQL manual, section 13.3.2, "Row-Level Locks", and "SELECT", "The Locking Clause".

use sqlparser::{
    ast::{
        BinaryOperator, CaseWhen, Cte, Delete, Expr, FromTable, Function, FunctionArg,
        FunctionArgExpr, FunctionArguments, Ident, InTarget, Insert, JoinConstraint, JoinOperator,
        Lock, LockClause, Merge, MergeAction, ObjectName, ObjectNamePart, OnConflictAction,
        OnInsert, Query, Select, SelectItem, SetExpr, Statement, TableAlias, TableFactor,
        TableObject, TableWithJoins, TypedString, UnaryOperator, Update, UpdateTableFromKind,
        Value, With,
    },
    dialect::PostgreSqlDialect,
    keywords::Keyword,
    parser::Parser,
    tokenizer::{Token, Tokenizer},
};
use std::thread;

/// Longer texts aren't read: reading takes time.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Statements with more operators and keywords aren't read. Each may nest the tree one deeper without a parenthesis that
/// the parser counts, and trees are dropped by recursion.
const MAX_OPERATORS: usize = 1_000;

/// Nor are those with more joins that wait for their `ON`: the parser enters each, and doesn't count them.
const MAX_OPEN_JOINS: usize = 20;

/// How deep the parser nests what it does count.
const MAX_DEPTH: usize = 50;

/// Room for all of that: unoptimized, the parser needs up to 100 KB for a level. Most of it is never touched.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Without one of these words, a text locks no rows that another transaction may hold.
const LOCKING_WORDS: [&str; 6] = ["update", "delete", "share", "merge", "lock", "conflict"];

/// The rows that a statement locks, in the order in which it comes to them, where it waits for them: none for
/// `SKIP LOCKED` and `NOWAIT`, and none for what can't be read.
///
/// A text that may lock is read on a thread of its own, since the caller's stack, often that of a future's task, may be
/// too short for it. So callers keep the answer, which depends on the text alone.
pub(super) fn row_locks(sql: &str) -> Vec<RowLock> {
    if !may_lock(sql) || sql.len() > MAX_TEXT_BYTES {
        return Vec::new();
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("txsafe-sql".into()).stack_size(STACK_BYTES);
        let reader = builder.spawn_scoped(scope, || read(sql)).ok();
        // A panic of the parser, too, is something that can't be read.
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    })
}

/// Rows of one table that are locked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RowLock {
    /// As the catalog writes it: unquoted names in lower case, `public.` left out, other schemas kept: `shop.orders`.
    pub(super) table: String,
    /// What tells one row, where the statement says so by equality.
    pub(super) key: Option<KeySource>,
}

/// Where the key of a row is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum KeySource {
    /// `$n`, counted from 0.
    Bind(usize),
    /// An integer without leading zeros, or the content of a string. A column has one type, so `7` and `'7'` are alike.
    Literal(String),
}

/// Whether a text may lock at all. Asked of every statement, it is quick.
pub(super) fn may_lock(sql: &str) -> bool {
    sql.as_bytes().split(|byte| !is_of_word(*byte)).any(|word| {
        LOCKING_WORDS.iter().any(|locking| word.eq_ignore_ascii_case(locking.as_bytes()))
    })
}

/// So that `updated_at` is one word.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn read(sql: &str) -> Vec<RowLock> {
    let mut reader = Reader::default();
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().unwrap_or_default();
    // One by one, so that a statement which can't be read hides no others.
    for tokens in tokens.split(|token| *token == Token::SemiColon) {
        if let Some(statement) = parsed(tokens) {
            reader.statement(&statement);
        }
    }
    reader.locks
}

fn parsed(tokens: &[Token]) -> Option<Statement> {
    let tokens = readable(tokens);
    let operators = tokens.iter().filter(|token| may_nest(token)).count();
    if operators > MAX_OPERATORS || open_joins(&tokens) > MAX_OPEN_JOINS {
        return None;
    }
    let dialect = PostgreSqlDialect {};
    let parser = Parser::new(&dialect).with_recursion_limit(MAX_DEPTH);
    parser.with_tokens(tokens).parse_statements().ok()?.pop()
}

/// All but what the long lists of a bulk insert are made of.
fn may_nest(token: &Token) -> bool {
    match token {
        Token::Word(_) => !matches!(
            keyword(token),
            Keyword::NoKeyword | Keyword::DEFAULT | Keyword::FALSE | Keyword::NULL | Keyword::TRUE
        ),
        Token::Comma | Token::LParen | Token::Number(..) | Token::Period => false,
        Token::Placeholder(_) | Token::RParen | Token::SingleQuotedString(_) => false,
        _ => true,
    }
}

/// How many joins wait for their conditions at once, at most.
fn open_joins(tokens: &[Token]) -> usize {
    let mut open: usize = 0;
    let counts = tokens.iter().map(|token| {
        match keyword(token) {
            Keyword::JOIN => open += 1,
            Keyword::CROSS | Keyword::NATURAL | Keyword::ON | Keyword::USING => {
                open = open.saturating_sub(1);
            }
            _ => {}
        }
        open
    });
    counts.max().unwrap_or_default()
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// Writes the locking clauses that the parser doesn't know as others that wait for the same rows.
fn readable(tokens: &[Token]) -> Vec<Token> {
    let is_space = |token: &&Token| matches!(token, Token::Whitespace(_));
    let mut tokens: Vec<_> = tokens.iter().filter(|token| !is_space(token)).cloned().collect();
    let mut i = 0;
    while i < tokens.len() {
        if are(&tokens[i..], &[Keyword::FOR, Keyword::NO, Keyword::KEY, Keyword::UPDATE]) {
            tokens.drain(i + 1..i + 3);
        } else if are(&tokens[i..], &[Keyword::FOR, Keyword::KEY, Keyword::SHARE]) {
            tokens.remove(i + 1);
        }
        if are(&tokens[i..], &[Keyword::FOR, Keyword::UPDATE, Keyword::OF])
            || are(&tokens[i..], &[Keyword::FOR, Keyword::SHARE, Keyword::OF])
        {
            dot_names(&mut tokens[i + 3..]);
        }
        i += 1;
    }
    tokens
}

fn are(tokens: &[Token], keywords: &[Keyword]) -> bool {
    tokens.len() >= keywords.len()
        && tokens.iter().map(keyword).zip(keywords).all(|(one, other)| one == *other)
}

/// `OF a, b` becomes `OF a.b`: the parser takes one name there. PostgreSQL allows none with a schema.
fn dot_names(tokens: &mut [Token]) {
    let separators = tokens.iter_mut().skip(1).step_by(2);
    for comma in separators.take_while(|token| **token == Token::Comma) {
        *comma = Token::Period;
    }
}

/// Goes through a statement, and collects what it locks.
#[derive(Default)]
struct Reader {
    locks: Vec<RowLock>,
    /// The `WITH` queries that can be named here, and hide the tables of these names.
    ctes: Vec<String>,
}

impl Reader {
    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => self.query(query, &[]),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Merge(merge) => self.merge(merge),
            Statement::Lock(lock) => self.lock(lock),
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
        self.rows(&update.table.relation, from.is_empty(), update.selection.as_ref());
    }

    fn delete(&mut self, delete: &Delete) {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let using = delete.using.as_deref().unwrap_or_default();
        self.tables(using, &[]);
        if let [target] = from.as_slice() {
            self.rows(&target.relation, using.is_empty(), delete.selection.as_ref());
        }
    }

    /// The rows of a target, after those that the search for them locks.
    fn rows(&mut self, target: &TableFactor, is_alone: bool, selection: Option<&Expr>) {
        if let Some(selection) = selection {
            self.subqueries(selection);
        }
        if let Some(table) = Table::of(target) {
            self.locks.push(table.lock(is_alone, selection));
        }
    }

    fn insert(&mut self, insert: &Insert) {
        if let Some(source) = &insert.source {
            self.query(source, &[]);
        }
        if let (Some(OnInsert::OnConflict(on)), TableObject::TableName(name)) =
            (&insert.on, &insert.table)
            && matches!(on.action, OnConflictAction::DoUpdate(_))
        {
            self.locks.push(Table { name, alias: None }.lock(false, None));
        }
    }

    fn merge(&mut self, merge: &Merge) {
        self.table(&merge.source, &[]);
        // What is inserted, or left alone, isn't locked.
        let locks = merge.clauses.iter().any(|clause| {
            matches!(clause.action, MergeAction::Update(_) | MergeAction::Delete { .. })
        });
        if let (true, Some(table)) = (locks, Table::of(&merge.table)) {
            self.locks.push(table.lock(false, None));
        }
    }

    fn lock(&mut self, lock: &Lock) {
        let waited_for = if lock.nowait { &[] } else { lock.tables.as_slice() };
        for target in waited_for {
            self.locks.push(Table { name: &target.name, alias: None }.lock(false, None));
        }
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
            if is_waited_for(clauses, &table.called()) && !self.is_cte(table.name) {
                self.locks.push(table.lock(factors.len() == 1, select.selection.as_ref()));
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
    }

    /// What the queries in an expression lock. It has no recursion, since chains of operators may be long.
    fn subqueries(&mut self, expr: &Expr) {
        let mut todo = vec![expr];
        while let Some(expr) = todo.pop() {
            let (operands, query) = parts(expr);
            if let Some(query) = query {
                self.query(query, &[]);
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
fn arguments(function: &Function) -> (Vec<&Expr>, Option<&Query>) {
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

/// Where several clauses are about a table, one that doesn't wait is enough.
fn is_waited_for(clauses: &[Clause<'_>], called: &String) -> bool {
    let mut covering = clauses.iter().filter(|clause| clause.covers(called)).peekable();
    covering.peek().is_some() && covering.all(|clause| clause.waits)
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

/// A table, as a statement names it.
#[derive(Clone, Copy)]
struct Table<'a> {
    name: &'a ObjectName,
    alias: Option<&'a Ident>,
}

impl<'a> Table<'a> {
    fn of(factor: &'a TableFactor) -> Option<Self> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                Some(Self { name, alias: alias.as_ref().map(|TableAlias { name, .. }| name) })
            }
            _ => None,
        }
    }

    fn lock(self, is_alone: bool, selection: Option<&Expr>) -> RowLock {
        let parts = parts_of(self.name);
        let table = match parts.as_slice() {
            [schema, table] if schema == "public" => table.clone(),
            parts => parts.join("."),
        };
        RowLock { table, key: selection.and_then(|selection| self.key(is_alone, selection)) }
    }

    /// How the rest of the statement calls it.
    fn called(self) -> String {
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

    fn is_called(self, qualifier: &[Ident]) -> bool {
        let qualifier: Vec<_> = qualifier.iter().map(folded).collect();
        match self.alias {
            Some(alias) => qualifier == [folded(alias)],
            None => !qualifier.is_empty() && parts_of(self.name).ends_with(&qualifier),
        }
    }
}

/// The columns which, for all rows that a condition selects, equal something that is known.
fn equalities(condition: &Expr) -> Vec<(&[Ident], KeySource)> {
    let mut found = Vec::new();
    let mut todo = vec![condition];
    while let Some(condition) = todo.pop() {
        match unparenthesized(condition) {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                todo.extend([&**right, left])
            }
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                let known = |(column, value)| Some((column_of(column)?, key_source(value)?));
                found.extend(known((left, right)).or_else(|| known((right, left))));
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

fn column_of(expr: &Expr) -> Option<&[Ident]> {
    match unparenthesized(expr) {
        Expr::Identifier(column) => Some(std::slice::from_ref(column)),
        Expr::CompoundIdentifier(names) => Some(names),
        _ => None,
    }
}

fn key_source(mut expr: &Expr) -> Option<KeySource> {
    while let Expr::Nested(inner) | Expr::Cast { expr: inner, .. } = expr {
        expr = inner;
    }
    match expr {
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

fn parts_of(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect()
}

/// A name as the catalog has it. Source: PostgreSQL manual, section 4.1.1, "Identifiers and Key Words".
fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `orders#$0, users#7, items`.
    fn shown(sql: &str) -> String {
        let locks = row_locks(sql).into_iter().map(|lock| match lock.key {
            Some(KeySource::Bind(n)) => format!("{}#${n}", lock.table),
            Some(KeySource::Literal(key)) => format!("{}#{key}", lock.table),
            None => lock.table,
        });
        locks.collect::<Vec<_>>().join(", ")
    }

    fn check(cases: &[(&str, &str)]) {
        for (sql, expected) in cases {
            assert_eq!(shown(sql), *expected, "{sql}");
        }
    }

    #[test]
    fn updates_and_deletes_lock_their_target() {
        check(&[
            ("UPDATE orders SET paid = true WHERE id = $1", "orders#$0"),
            ("update Orders set paid = true", "orders"),
            ("UPDATE \"Orders\" SET paid = true WHERE \"id\" = $1", "Orders#$0"),
            ("UPDATE public.orders SET paid = true", "orders"),
            (
                "UPDATE \"shop\".\"orders\" SET n = 1 WHERE \"shop\".\"orders\".\"id\" = $1",
                "shop.orders#$0",
            ),
            ("UPDATE ONLY orders SET n = 1 WHERE id = 7", "orders#7"),
            ("UPDATE ONLY (orders) SET n = 1", "orders"),
            ("UPDATE orders * SET n = 1", "orders"),
            ("UPDATE orders AS o SET n = 1 WHERE o.id = $2", "orders#$1"),
            ("UPDATE orders o SET n = u.n FROM users u WHERE u.id = $1 AND o.id = $2", "orders#$1"),
            (
                "UPDATE orders o SET n = u.n FROM users u WHERE u.id = $1 AND o.user_id = u.id",
                "orders",
            ),
            ("UPDATE orders o SET n = 1 FROM users u WHERE id = $1", "orders"),
            ("UPDATE orders SET (n, m) = (1, 2) WHERE id = $1 RETURNING *", "orders#$0"),
            ("UPDATE orders SET n = $1 WHERE CURRENT OF c", ""),
            ("DELETE FROM orders WHERE id = $1", "orders#$0"),
            ("DELETE FROM ONLY shop.orders o WHERE o.id = '7'", "shop.orders#7"),
            (
                "DELETE FROM orders USING users u WHERE orders.user_id = u.id AND orders.id = $1",
                "orders#$0",
            ),
            ("DELETE FROM orders", "orders"),
        ]);
    }

    #[test]
    fn what_drivers_send() {
        check(&[
            (
                "UPDATE \"orders\" SET \"shipments\" = (\"orders\".\"shipments\" + $1) WHERE (\"orders\".\"id\" = $2)",
                "orders#$1",
            ),
            ("SELECT \"a\".\"id\" FROM \"a\" WHERE (\"a\".\"id\" = $1) FOR NO KEY UPDATE", "a#$0"),
            (
                "SELECT * FROM \"shop\".\"orders\" WHERE \"id\" = ANY (CAST($1 AS text)::bigint[]) \
                 ORDER BY \"id\" FOR NO KEY UPDATE",
                "shop.orders",
            ),
            (
                "UPDATE \"users\" SET \"name\" = $1, \"n\" = DEFAULT WHERE ((\"users\".\"org\" = $2) AND \
                 (\"users\".\"id\" = $3)) RETURNING \"users\".\"id\", \"users\".\"name\"",
                "users#$2",
            ),
            ("DELETE  FROM \"orders\" WHERE (\"orders\".\"id\" = $1) -- binds: [7]", "orders#$0"),
            (
                "SELECT \"a\".\"id\", \"b\".\"id\" FROM (\"a\" INNER JOIN \"b\" ON (\"b\".\"a_id\" = \"a\".\"id\")) \
                 WHERE (\"a\".\"id\" = $1) FOR UPDATE",
                "a#$0, b",
            ),
            (
                "INSERT INTO \"orders\" (\"id\", \"n\") VALUES ($1, $2), ($3, DEFAULT) ON CONFLICT (\"id\") DO \
                 UPDATE SET \"n\" = excluded.\"n\" RETURNING \"orders\".\"id\"",
                "orders",
            ),
            ("SELECT \"orders\".\"updated_at\" FROM \"orders\" WHERE (\"orders\".\"id\" = $1)", ""),
            ("INSERT INTO \"orders\" (\"n\") VALUES ($1) ON CONFLICT DO NOTHING", ""),
            ("SAVEPOINT diesel_savepoint_1", ""),
        ]);
    }

    #[test]
    fn locking_clauses() {
        check(&[
            ("SELECT * FROM orders WHERE id = $1 FOR UPDATE", "orders#$0"),
            ("SELECT * FROM orders WHERE id = $1 FOR SHARE", "orders#$0"),
            ("SELECT * FROM orders WHERE id = $1 for key share", "orders#$0"),
            ("SELECT * FROM orders WHERE id = $1 FOR UPDATE NOWAIT", ""),
            ("SELECT * FROM orders WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED", ""),
            ("SELECT * FROM orders LIMIT 1 FOR UPDATE", "orders"),
            ("SELECT * FROM orders FOR UPDATE LIMIT 1", "orders"),
            ("SELECT * FROM ONLY orders FOR UPDATE", "orders"),
            ("SELECT * FROM a, b AS c LEFT JOIN d ON d.id = c.id FOR UPDATE", "a, b, d"),
            (
                "SELECT * FROM a x JOIN b y ON x.id = y.id WHERE x.id = 1 AND y.id = $1 FOR UPDATE",
                "a#1, b#$0",
            ),
            ("SELECT * FROM a JOIN b USING (id) FOR NO KEY UPDATE OF b", "b"),
            ("SELECT * FROM a x, b, c FOR UPDATE OF x, C NOWAIT FOR SHARE OF \"b\"", "b"),
            ("SELECT * FROM a x, b, c FOR KEY SHARE OF x, c", "a, c"),
            ("SELECT * FROM a, b FOR UPDATE OF a FOR KEY SHARE OF b SKIP LOCKED", "a"),
            ("SELECT * FROM a FOR UPDATE FOR SHARE SKIP LOCKED", ""),
            ("SELECT * FROM a FOR UPDATE OF other", ""),
            ("SELECT * FROM shop.a FOR UPDATE OF a", "shop.a"),
            ("(SELECT * FROM a WHERE id = 1) FOR UPDATE", "a#1"),
            ("SELECT * FROM a, generate_series(1, 2) g FOR UPDATE OF a", "a"),
            ("SELECT 'FOR NO KEY UPDATE' FROM a", ""),
            ("SELECT 'FOR NO KEY UPDATE' FROM a FOR UPDATE", "a"),
        ]);
    }

    #[test]
    fn subqueries_and_ctes() {
        check(&[
            ("SELECT * FROM a, (SELECT * FROM b WHERE id = $1) s FOR UPDATE", "b#$0, a"),
            ("SELECT * FROM a, (SELECT * FROM b) s FOR UPDATE OF a", "a"),
            ("SELECT * FROM a, (SELECT * FROM b, c) AS s FOR UPDATE OF s", "b, c"),
            ("SELECT * FROM (SELECT * FROM b FOR UPDATE) s", "b"),
            ("SELECT * FROM (SELECT * FROM b FOR UPDATE SKIP LOCKED) s FOR UPDATE", ""),
            ("WITH c AS (SELECT * FROM a FOR UPDATE) SELECT * FROM c", "a"),
            ("WITH c AS (SELECT * FROM a) SELECT * FROM b, c FOR UPDATE", "b"),
            ("WITH a AS (SELECT * FROM a FOR UPDATE) SELECT * FROM a FOR UPDATE", "a"),
            ("WITH RECURSIVE a AS (SELECT * FROM a FOR UPDATE) SELECT 1", ""),
            ("WITH c AS (SELECT 1) SELECT * FROM shop.c FOR UPDATE", "shop.c"),
            (
                "WITH c AS (UPDATE a SET n = 1 WHERE id = $1 RETURNING *) DELETE FROM b WHERE id = $2",
                "a#$0, b#$1",
            ),
            ("WITH c AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM c", "a"),
            ("UPDATE a SET n = 1 WHERE id IN (SELECT id FROM b FOR UPDATE)", "b, a"),
            (
                "UPDATE a SET n = 1 WHERE id = (SELECT id FROM a ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)",
                "a",
            ),
            ("UPDATE a SET n = (SELECT n FROM b WHERE id = 1 FOR SHARE) WHERE id = 2", "b#1, a#2"),
            ("UPDATE a SET n = s.n FROM (SELECT * FROM b FOR UPDATE) s WHERE a.id = s.id", "b, a"),
            (
                "DELETE FROM a WHERE id = ANY (ARRAY(SELECT id FROM b FOR UPDATE)) AND NOT EXISTS (SELECT 1 FROM c)",
                "b, a",
            ),
            (
                "DELETE FROM a WHERE CASE WHEN n = 1 THEN true ELSE EXISTS (SELECT 1 FROM b FOR SHARE) END",
                "b, a",
            ),
            ("SELECT coalesce((SELECT n FROM a WHERE id = $1 FOR UPDATE), 0)", "a#$0"),
            ("(SELECT id FROM a FOR UPDATE) UNION ALL (SELECT id FROM b FOR UPDATE)", "a, b"),
            (
                "SELECT a.id FROM a JOIN b ON b.id = (SELECT id FROM c FOR UPDATE) FOR UPDATE OF a",
                "c, a",
            ),
        ]);
    }

    #[test]
    fn other_statements() {
        check(&[
            ("INSERT INTO a (n) VALUES (1)", ""),
            ("INSERT INTO a SELECT * FROM b WHERE id = $1 FOR UPDATE", "b#$0"),
            (
                "INSERT INTO shop.a AS x (n) VALUES (1) ON CONFLICT ON CONSTRAINT c DO UPDATE SET n = x.n + 1",
                "shop.a",
            ),
            (
                "INSERT INTO a SELECT * FROM b FOR SHARE ON CONFLICT (id) DO UPDATE SET n = 1",
                "b, a",
            ),
            (
                "MERGE INTO a AS t USING b AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = s.n \
                 WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
                "a",
            ),
            (
                "MERGE INTO a USING b ON a.id = b.id WHEN NOT MATCHED THEN INSERT (id) VALUES (b.id)",
                "",
            ),
            ("LOCK TABLE a, ONLY shop.b IN SHARE ROW EXCLUSIVE MODE", "a, shop.b"),
            ("LOCK a", "a"),
            ("LOCK TABLE a NOWAIT", ""),
            ("TRUNCATE a; SELECT 'update'", ""),
            ("ALTER TABLE a ADD COLUMN \"lock\" integer", ""),
            (
                "SET LOCAL lock_timeout = '1s'; UPDATE a SET n = 1; UPDATE b SET n = 1 WHERE id = 2;",
                "a, b#2",
            ),
            ("this is no SQL; UPDATE a SET n = 1", "a"),
            ("SELECT ';' FROM a FOR UPDATE; ; SELECT 1", "a"),
        ]);
    }

    #[test]
    fn keys() {
        check(&[
            ("DELETE FROM a WHERE 7 = id", "a#7"),
            ("DELETE FROM a WHERE id = $1::bigint", "a#$0"),
            ("DELETE FROM a WHERE id = CAST(($12) AS bigint)", "a#$11"),
            ("DELETE FROM a WHERE id = 007", "a#7"),
            ("DELETE FROM a WHERE id = 000", "a#0"),
            ("DELETE FROM a WHERE id = -7", "a#-7"),
            ("DELETE FROM a WHERE id = '007'", "a#007"),
            ("DELETE FROM a WHERE id = 'it''s'", "a#it's"),
            ("DELETE FROM a WHERE id = E'a\\nb'", "a#a\nb"),
            ("DELETE FROM a WHERE id = $tag$x = 'y'$tag$", "a#x = 'y'"),
            ("DELETE FROM a WHERE id = uuid '0a'", "a#0a"),
            ("DELETE FROM a WHERE id = 7.5", "a"),
            ("DELETE FROM a WHERE id = $0", "a"),
            ("DELETE FROM a WHERE org = 1 AND (sku = $1 AND (ID = $2))", "a#$1"),
            ("DELETE FROM a WHERE org = $1 AND sku = $2", "a#$0"),
            ("DELETE FROM a WHERE n > 1 AND id = $1 AND m IS NULL", "a#$0"),
            ("DELETE FROM a WHERE id = $1 OR id = $2", "a"),
            ("DELETE FROM a WHERE NOT id = $1", "a"),
            ("DELETE FROM a WHERE id <> $1", "a"),
            ("DELETE FROM a WHERE id IN ($1)", "a"),
            ("DELETE FROM a WHERE id = ANY ($1)", "a"),
            ("DELETE FROM a WHERE id = other", "a"),
            ("DELETE FROM a WHERE id = NULL", "a"),
            ("DELETE FROM a WHERE lower(id) = $1", "a"),
            ("DELETE FROM a AS b WHERE a.id = $1", "a"),
        ]);
    }

    #[test]
    fn whatever_else_the_text_holds() {
        check(&[
            ("", ""),
            (" ; ;", ""),
            ("UPDATE", ""),
            ("UPDATE a SET", ""),
            ("UPDATE a SET n = 'unclosed", ""),
            ("SELECT * FROM a FOR UPDATE OF", ""),
            ("SELECT * FROM a FOR NO KEY", ""),
            (
                "/* UPDATE b /* nested */ */ UPDATE a -- WHERE id = 1\n SET n = $$DELETE; FROM c$$",
                "a",
            ),
            ("SELECT 1 /* FOR UPDATE */ FROM a", ""),
            ("SELECT * FROM a FOR /* that is: */ NO KEY -- all\n UPDATE", "a"),
            ("UPDATE \"größe\" SET \"é\" = '🦀' WHERE \"größe\".\"ключ\" = '鍵'", "größe#鍵"),
            ("UPDATE Größe SET n = 1", "größe"),
            ("UPDATE \"a\"\"b\" SET n = 1", "a\"b"),
            (
                "UPDATE a SET tags = tags || ARRAY['x'], j = j #- '{a}' WHERE j @> '{}' AND id = $1",
                "a#$0",
            ),
            (
                "UPDATE a SET j = j -> 'update' ->> 'b', t = now() - interval '1 day' WHERE id = $1",
                "a#$0",
            ),
            ("UPDATE a SET n = 1 WHERE j ? 'key' AND id = $1", "a#$0"),
        ]);
    }

    #[test]
    fn words_are_told_from_parts_of_words() {
        assert!(may_lock("select 1 fOr uPdAte"));
        assert!(may_lock("(UPDATE\"a\""));
        assert!(!may_lock("SELECT updated_at, deleted, \"locks\", é_lock FROM shares"));
    }

    #[test]
    fn long_statements_are_read_while_they_are_flat() {
        let conditions = "AND n = 1 ".repeat(300);
        assert_eq!(shown(&format!("DELETE FROM a WHERE id = $1 {conditions}")), "a#$0");
        let rows = ", ($1, 'x', NULL, DEFAULT)".repeat(2_000);
        let upsert = "ON CONFLICT (id) DO UPDATE SET n = 1";
        assert_eq!(shown(&format!("INSERT INTO a VALUES (1, 'y', 0, 0) {rows} {upsert}")), "a");
        let joins = "JOIN b ON b.id = a.id CROSS JOIN c NATURAL JOIN d ".repeat(50);
        assert_eq!(shown(&format!("SELECT * FROM a {joins} FOR UPDATE OF a")), "a");
        let parentheses = ("(".repeat(20), ")".repeat(20));
        let statement = format!("DELETE FROM a WHERE {}id = $1{}", parentheses.0, parentheses.1);
        assert_eq!(shown(&statement), "a#$0");
    }

    #[test]
    fn no_depth_overflows_the_stack() {
        let nested = [
            ("UPDATE a SET n = ", "("),
            ("SELECT * FROM ", "("),
            ("SELECT * FROM ", "(SELECT * FROM "),
            ("UPDATE a SET n = ", "NOT "),
            ("UPDATE a SET n = ", "f("),
            ("UPDATE a SET n = ", "CASE WHEN "),
            ("UPDATE a SET n = b", " + 1"),
            ("UPDATE a SET n = b", "::int"),
            ("SELECT * FROM a", " JOIN b"),
            ("SELECT 1", " UNION SELECT 1"),
            ("", "WITH a AS ("),
        ];
        for (start, part) in nested {
            for n in [20, 45, 300, 10_000] {
                // Whatever is deep hides nothing behind it; only what is too long does.
                let sql = format!("{start}{}; UPDATE b SET n = 1", part.repeat(n));
                let is_read = row_locks(&sql).last().is_some_and(|lock| lock.table == "b");
                assert_eq!(is_read, sql.len() <= MAX_TEXT_BYTES, "{start}{part} {n} times");
            }
        }
    }

    #[test]
    fn no_sequence_of_tokens_panics() {
        const TOKENS: &str = "SELECT UPDATE DELETE INSERT MERGE INTO LOCK TABLE FROM WHERE SET VALUES WITH \
            RECURSIVE AS JOIN LEFT CROSS ON USING FOR NO KEY SHARE OF NOWAIT SKIP LOCKED ONLY CONFLICT DO NOTHING \
            UNION LIMIT ORDER BY IN ANY ARRAY EXISTS NOT AND OR IS NULL CASE WHEN THEN END CAST LATERAL RETURNING \
            MATCHED a b.c \"D\" \"é\"\"\" public id $1 $0 $9999999999999999999999 $$ ? 7 007 1.5 'x' E'\\n' U&'\\0041' \
            'unclosed ( ) ( ) [ ] , , . ; * = = + - :: <> -- /* */ 🦀 \\";
        let tokens: Vec<_> = TOKENS.split(' ').collect();
        let seed = fastrand::u64(..);
        println!("seed: {seed}");
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut sequence = || {
            let length = dice.usize(..40);
            (0..length).map(|_| tokens[dice.usize(..tokens.len())]).collect::<Vec<_>>().join(" ")
        };
        let sequences: Vec<_> = (0..2_000).map(|_| sequence()).collect();
        // Not `row_locks`, on whose threads a panic would go unseen.
        let reader = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || sequences.iter().for_each(|sql| drop(read(sql))));
        reader.unwrap().join().unwrap();
    }
}
