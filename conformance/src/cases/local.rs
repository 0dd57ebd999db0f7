//! Settings of the application's own that hold for one transaction: a tenant, a role, a search path.

use super::Case;
use crate::{
    drivers::{Call, Driver, Setup},
    script::{Script, Step},
    shop::Shop,
};
use txsafe::{ErrorKind, IDEMPOTENCY_KEYS_SQL, Keyed, NewMessage, OUTBOX_SQL, TxOptions};

pub(super) const CASES: &[Case] = cases![
    a_tenant_sees_its_own_rows_alone,
    a_search_path_ends_with_its_transaction,
    own_tables_are_found_in_their_schema_whatever_the_search_path,
    a_role_that_is_refused_is_told
];

/// A table with a policy for each tenant, and a role that may do nothing but use it: it has no rights on txsafe's own.
struct Tenants {
    shop: Shop,
    role: String,
}

impl Tenants {
    async fn move_in(name: &str) -> Self {
        let shop = Shop::open(name).await.unwrap();
        let (schema, role) = (shop.name(), format!("{}_tenant", shop.name()));
        let sql = format!(
            "CREATE TABLE notes (tenant int NOT NULL DEFAULT current_setting('app.tenant_id')::int, text text);
             ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON notes USING (tenant = current_setting('app.tenant_id')::int);
             CREATE ROLE {role} NOLOGIN;
             GRANT {role} TO CURRENT_USER;
             GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT SELECT, INSERT ON notes TO {role}"
        );
        shop.watcher.batch_execute(&sql).await.unwrap();
        Self { shop, role }
    }

    fn options(&self, tenant: u32) -> TxOptions {
        TxOptions::new().set_local("app.tenant_id", tenant.to_string()).role(&self.role)
    }

    /// A role is the server's, and outlives its schema.
    async fn move_out(self) {
        let Self { shop, role } = self;
        let sql = format!("DROP OWNED BY {role}; DROP ROLE {role}");
        shop.watcher.batch_execute(&sql).await.unwrap();
    }
}

/// Fails unless this is true.
pub(super) fn check(what: &str) -> Step {
    Step::sql(format!("DO $$ BEGIN IF NOT ({what}) THEN RAISE 'it is not'; END IF; END $$"))
}

async fn a_tenant_sees_its_own_rows_alone(driver: Driver) {
    let tenants = Tenants::move_in("tenants").await;
    let db = tenants.shop.database_at(driver, &tenants.shop.url, 1);
    let is_tenant = |tenant: u32| {
        check(&format!(
            "current_user = '{}' AND current_setting('app.tenant_id') = '{tenant}'",
            tenants.role
        ))
    };
    let write = || Step::sql("INSERT INTO notes (text) VALUES ('mine')");
    // Words that SQL reserves, in settings as people name them.
    let reserved = TxOptions::new().set_local("app.user", "anne").set_local("app.order", "$1");
    let is_anne = "current_setting('app.user') = 'anne' AND current_setting('app.order') = '$1'";
    for key in [None, Some("reserved")] {
        let call = Call::new("reserved").with(reserved.clone());
        let call = key.map_or(call.clone(), |key| call.clone().key(key));
        db.run(call, Script::new([check(is_anne)])).await.unwrap();
    }
    for tenant in [7, 8] {
        // Each attempt has them anew.
        let first = vec![is_tenant(tenant), write(), Step::raise("40001")];
        let second = vec![is_tenant(tenant), write(), check("(SELECT count(*) FROM notes) = 1")];
        let script = Script::first(first, second);
        let call = Call::new("note").with(tenants.options(tenant));
        // Its key is written by the session's own role, and found again.
        for ran in [Keyed::Ran(()), Keyed::AlreadyCommitted] {
            let call = call.clone().key(format!("request-{tenant}"));
            assert_eq!(db.run(call, script.clone()).await.unwrap(), ran);
        }
        assert_eq!(script.attempts(), 2);
        let reads = Script::new([is_tenant(tenant), check("(SELECT count(*) FROM notes) = 1")]);
        db.run(call, reads).await.unwrap();
        // The next transaction on the connection is the session's own again.
        let own = format!("current_user <> '{}'", tenants.role);
        db.run(Call::new("own"), Script::new([check(&own)])).await.unwrap();
    }
    assert_eq!(tenants.shop.ask("SELECT count(*) FROM notes").await, 2);
    tenants.move_out().await;
}

async fn a_search_path_ends_with_its_transaction(driver: Driver) {
    let shop = Shop::open("search_path").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let tables = "CREATE SCHEMA \"o'hara\"; CREATE TABLE \"o'hara\".house AS SELECT 1 AS n";
    shop.watcher
        .batch_execute(&tables.replace("o'hara", &format!("o'{}", shop.name())))
        .await
        .unwrap();
    let options =
        TxOptions::new().search_path([format!("o'{}", shop.name()), shop.name().to_owned()]);
    let script = || Script::new([Step::sql("SELECT n FROM house"), Step::Credit(1, 1)]);
    for key in [None, Some("request-1$1")] {
        let call = Call::new("there").with(options.clone());
        let call = key.map_or(call.clone(), |key| call.clone().key(key));
        db.run(call, script()).await.unwrap();
        db.run(Call::new("here"), script()).await.unwrap_err();
    }
    assert_eq!(shop.balance_of(1).await, 102);
    let drop = format!("DROP SCHEMA \"o'{}\" CASCADE", shop.name());
    shop.watcher.batch_execute(&drop).await.unwrap();
}

async fn own_tables_are_found_in_their_schema_whatever_the_search_path(driver: Driver) {
    let shop = Shop::open("own_tables").await.unwrap();
    let own_schema = format!("{} Ops", shop.name());
    let tables = [
        "DROP TABLE IF EXISTS txsafe_idempotency_keys, txsafe_outbox",
        &format!("CREATE SCHEMA \"{own_schema}\"; SET search_path TO \"{own_schema}\""),
        IDEMPOTENCY_KEYS_SQL,
        OUTBOX_SQL,
        &format!("SET search_path TO {}", shop.name()),
    ];
    for sql in tables {
        shop.watcher.batch_execute(sql).await.unwrap();
    }
    let script =
        || Script::new([Step::Credit(1, 1), Step::Outbox(NewMessage::new("mail", "hello"))]);
    let call = || {
        let options = TxOptions::new().search_path([shop.name()]);
        Call::new("there").with(options).key("request").fingerprint("1 to account 1")
    };
    let setup = Setup { own_schema: Some(own_schema.clone()), ..Setup::default() };
    let db = driver.open_as(&shop.url, 1, shop.name(), setup);
    for ran in [Keyed::Ran(()), Keyed::AlreadyCommitted] {
        assert_eq!(db.run(call(), script()).await.unwrap(), ran);
    }
    let other = call().fingerprint("1 to account 2");
    let error = db.run(other, script()).await.unwrap_err().ours();
    assert!(matches!(error.kind(), ErrorKind::IdempotencyKeyReused { .. }), "{error}");
    let written = format!("SELECT count(*) FROM \"{own_schema}\".txsafe_outbox");
    assert_eq!((shop.ask(&written).await, shop.balance_of(1).await), (1, 101));
    // Without it, the search path has to lead to them.
    let error = shop.database(driver).run(call(), script()).await.unwrap_err().ours();
    assert!(error.to_string().contains("put `IDEMPOTENCY_KEYS_SQL` into a migration"), "{error}");
    let drop = format!("DROP SCHEMA \"{own_schema}\" CASCADE");
    shop.watcher.batch_execute(&drop).await.unwrap();
}

async fn a_role_that_is_refused_is_told(driver: Driver) {
    let shop = Shop::open("no_role").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    for key in [None, Some("request-1")] {
        let call = Call::new("nobody").with(TxOptions::new().role("nobody at all"));
        let call = key.map_or(call.clone(), |key| call.clone().key(key));
        let script = Script::new([Step::Credit(1, 1)]);
        let error = db.run(call, script.clone()).await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::Failed, "{error}");
        assert!(error.to_string().contains("\"nobody at all\" does not exist"), "{error}");
    }
    let invalid = TxOptions::new().set_local("statement_timeout", "1");
    let error = db.run(Call::new("invalid").with(invalid), Script::new([])).await.unwrap_err();
    assert!(error.ours().to_string().contains("call `statement_timeout`"));
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (100, 0));
}
