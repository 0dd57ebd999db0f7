//! What the guard says of either handler. The provider is held while it is looked who has the row; nothing sleeps but the
//! provider, whose slowness is the subject.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use guarded_service::{CONCERT, Payments, Provider, Shop, TABLES};
use reqwest::Client;
use sqlx::{PgPool, query_scalar, raw_sql};
use std::{process::Command, time::Duration};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use txsafe_sqlx::{
    Database,
    guard::{Code, Finding, Policy},
};
use txsafe_testkit::{Postgres, Schema};

const TAKES: Duration = Duration::from_millis(20);

struct Service {
    url: String,
    pool: PgPool,
    provider: Provider,
    findings: UnboundedReceiver<Finding>,
    _schema: Schema,
}

async fn service(policy: Policy) -> Service {
    let schema = Postgres::shared().await.unwrap().schema("tickets").await.unwrap();
    let pool = PgPool::connect_lazy(schema.url()).unwrap();
    raw_sql(TABLES).execute(&pool).await.unwrap();
    let (finding, findings) = unbounded_channel();
    let policy = policy.on_finding(move |found| drop(finding.send(found.clone())));
    let db = Database::builder(pool.clone()).guard(policy).build().unwrap();
    let provider = Provider::start(TAKES).await.unwrap();
    let payments = Payments::connect(provider.url()).await.unwrap();
    let url = Shop::open(db, payments).await.unwrap();
    Service { url, pool, provider, findings, _schema: schema }
}

impl Service {
    async fn buy(&self, handler: &str) -> reqwest::Result<String> {
        let answer = Client::new().post(format!("{}/{handler}", self.url)).send().await?;
        answer.error_for_status()?.text().await
    }

    /// Buys a ticket; whether the row of the concert was locked while the provider was asked.
    async fn buy_and_look(&self, handler: &str) -> bool {
        self.provider.hold(true);
        let look = async {
            self.provider.asked().await;
            let sql = "SELECT id FROM concerts WHERE id = $1 FOR UPDATE SKIP LOCKED";
            let row: Option<i64> =
                query_scalar(sql).bind(CONCERT).fetch_optional(&self.pool).await.unwrap();
            self.provider.hold(false);
            row.is_none()
        };
        let (bought, was_locked) = tokio::join!(self.buy(handler), look);
        assert_eq!(bought.unwrap(), "1");
        was_locked
    }

    async fn seats_left(&self) -> i32 {
        query_scalar("SELECT seats_left FROM concerts").fetch_one(&self.pool).await.unwrap()
    }
}

fn line_of_the_charge() -> u32 {
    let mut lines = include_str!("../src/payments.rs").lines();
    let before = lines.position(|line| line.ends_with("// it answers when it likes"));
    u32::try_from(before.unwrap() + 1).unwrap()
}

#[tokio::test]
async fn before_the_provider_is_waited_for_while_the_row_is_locked() {
    let mut service = service(Policy::dev()).await;
    assert!(service.buy_and_look("before").await);
    let line = line_of_the_charge();
    let finding = loop {
        let finding = service.findings.recv().await.unwrap();
        if finding.site.as_ref().is_some_and(|site| site.line == line) {
            break finding;
        }
    };
    let site = finding.site.as_ref().unwrap();
    assert_eq!(finding.code, Code::ExternalWait);
    assert!(site.file.ends_with("src/payments.rs"), "{finding}");
    assert_eq!(site.called.as_deref(), Some("reqwest"), "{finding}");
    assert_eq!((&*finding.transaction, finding.statements), ("buy_ticket", 1), "{finding}");
    assert!(finding.place.file().ends_with("src/shop.rs"), "{finding}");
    assert!(finding.waited.unwrap() >= TAKES, "{finding}");
    assert_eq!(service.provider.done(), ["payment of 4500 cents", "receipt"]);
}

#[tokio::test]
async fn after_nobody_waits_for_the_provider() {
    // A finding would fail the request.
    let mut service = service(Policy::test()).await;
    assert!(!service.buy_and_look("after").await);
    assert!(service.findings.try_recv().is_err());
    assert_eq!(service.provider.done(), ["payment of 4500 cents", "capture of p-1", "receipt"]);
    assert_eq!(service.seats_left().await, 99);
}

#[tokio::test]
async fn in_a_test_the_request_before_fails_although_it_was_charged() {
    let mut service = service(Policy::test()).await;
    assert!(service.buy("before").await.is_err());
    let finding = service.findings.recv().await.unwrap();
    assert_eq!(finding.code, Code::ExternalWait, "{finding}");
    assert_eq!(service.seats_left().await, 100, "rolled back");
    assert_eq!(service.provider.done()[0], "payment of 4500 cents");
}

#[test]
fn what_was_printed_once_names_that_line_still() {
    let line = format!("examples/guarded-service/src/payments.rs:{}, by", line_of_the_charge());
    assert!(include_str!("../README.md").contains(&line), "{line}");
}

#[test]
fn the_program_says_what_differs() {
    let output = Command::new(env!("CARGO_BIN_EXE_guarded-service")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("TXS001 external wait: waited ").count(), 2, "{said}");
    assert!(said.contains("src/payments.rs:"), "{said}");
    assert!(said.lines().any(|line| line == "No finding."), "{said}");
}
