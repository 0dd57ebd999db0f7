//! Functions that are marked by `#[external_io]`, called in a transaction.

use crate::support::{AppError, Shop};
use async_trait::async_trait;
use std::{
    future::Future,
    sync::{Arc, Mutex},
};
use txsafe_diesel::{
    Database,
    guard::{Code, Policy, external_io},
};

struct Stripe;

impl Stripe {
    #[external_io("stripe.charge")]
    async fn charge(&self, cents: u32) -> Result<u32, &'static str> {
        if cents == 0 {
            return Err("nothing to charge");
        }
        Ok(cents)
    }

    #[external_io]
    fn ping(&self) -> bool {
        true
    }
}

#[async_trait]
trait Mail {
    async fn send(&self, to: &str) -> usize;
}

#[async_trait]
impl Mail for Stripe {
    #[external_io("mail.send")]
    async fn send(&self, to: &str) -> usize {
        tokio::task::yield_now().await;
        to.len()
    }
}

#[external_io]
fn desugared() -> impl Future<Output = ()> + Send {
    async {}
}

#[tokio::test]
async fn each_is_found_at_its_function() {
    let shop = Shop::open("marks").await;
    let findings = Arc::<Mutex<Vec<_>>>::default();
    let receive = Arc::clone(&findings);
    let policy =
        Policy::production().on_finding(move |found| receive.lock().unwrap().push(found.clone()));
    let db = Database::builder(shop.db.pool().clone()).guard(policy).build().unwrap();

    let committed = db.transaction("marks", async |_tx| {
        assert_eq!(Stripe.charge(3).await, Ok(3));
        assert!(Stripe.ping());
        let mail: &(dyn Mail + Sync) = &Stripe;
        assert_eq!(mail.send("ada").await, 3);
        desugared().await;
        drop(Stripe.charge(4));
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert!(Stripe.charge(0).await.is_err());

    let findings = findings.lock().unwrap();
    assert!(findings.iter().all(|found| found.code == Code::ExternalCall));
    let called: Vec<_> =
        findings.iter().map(|found| found.what.split(", which").next().unwrap()).collect();
    let names = ["called stripe.charge", "called ping", "called mail.send", "called desugared"];
    assert_eq!(called, names);
    let charge = findings[0].site.as_ref().unwrap();
    assert!(charge.file.ends_with("it/external_io.rs"), "{charge}");
    assert_eq!(charge.line, 18, "the line of the function");
}
