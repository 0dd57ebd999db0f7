//! Many tests on one server.

use txsafe_testkit::Postgres;

use crate::database::{connect, text};

#[tokio::test]
async fn schemas_keep_tests_apart() {
    let server = Postgres::shared().await.unwrap();
    let one = server.schema("apart").await.unwrap();
    let two = server.schema("apart").await.unwrap();
    for schema in [&one, &two] {
        let client = connect(schema.url()).await.unwrap();
        client.batch_execute("CREATE TABLE t (id int)").await.unwrap();
        assert_eq!(text(&client, "SELECT current_schema()::text").await, schema.name());
    }
}

#[tokio::test]
async fn a_schema_is_dropped_with_its_value() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("dropped").await.unwrap();
    let name = schema.name().to_owned();
    connect(schema.url()).await.unwrap().batch_execute("CREATE TABLE t (id int)").await.unwrap();
    assert!(exists(server, &name).await);

    // In the middle of a runtime, where blocking on another one would panic.
    drop(schema);
    assert!(!exists(server, &name).await);
}

#[tokio::test]
async fn a_schema_in_use_is_not_removed_silently() {
    let server = Postgres::start().await.unwrap();
    let schema = server.schema("in_use").await.unwrap();
    let client = connect(schema.url()).await.unwrap();
    client.batch_execute("CREATE TABLE t (id int); BEGIN; LOCK TABLE t").await.unwrap();

    let error = schema.remove().await.unwrap_err();
    assert!(error.to_string().contains("end the transactions that use it"), "{error}");
}

#[test]
fn schemas_need_no_runtime() {
    let server = Postgres::shared_blocking().unwrap();
    server.schema_blocking("blocking").unwrap().remove_blocking().unwrap();
}

#[tokio::test]
async fn schemas_work_over_the_socket_too() {
    let server = Postgres::builder().tcp(false).start().await.unwrap();
    let schema = server.schema("socket").await.unwrap();
    let client = connect(schema.url()).await.unwrap();
    assert_eq!(text(&client, "SELECT current_schema()::text").await, schema.name());
}

async fn exists(server: &Postgres, schema: &str) -> bool {
    let client = connect(server.url()).await.unwrap();
    let query = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
    client.query_one(query, &[&schema]).await.unwrap().get(0)
}
