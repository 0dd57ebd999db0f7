//! Where system calls are looked at, those of a transaction's own driver are no findings, and those beside it are.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod over_diesel;
mod over_diesel_async;
mod over_sqlx;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};
use txsafe::guard::{Code, Policy, Severity};
use txsafe_interpose as _;

txsafe::rank!(pub Account: table "accounts" key "id" as i32);
txsafe::rank!(pub Import: advisory 44 as String);
txsafe::lock_order! { pub ShopOrder: Account => Import }

/// So many statements of a kind.
const MANY: i32 = 50;

mod schema {
    diesel::table! {
        accounts (id) {
            id -> Integer,
            balance -> BigInt,
        }
    }
}

#[derive(diesel::Queryable, diesel::Selectable, diesel::Identifiable, sqlx::FromRow)]
#[diesel(table_name = schema::accounts)]
#[expect(dead_code, reason = "read by nobody")]
struct AccountRow {
    id: i32,
    balance: i64,
}

txsafe::ranked!(AccountRow => Account);

/// The system calls that were found.
#[derive(Clone, Default)]
struct Found(Arc<Mutex<Vec<String>>>);

impl Found {
    /// Those only, without a line: so they are known when the transaction ends.
    fn policy(&self) -> Policy {
        let there = Arc::clone(&self.0);
        let policy = Code::ALL.into_iter().fold(Policy::test(), |policy, code| {
            // One that could fail the transaction makes its end wait for the lines of the others.
            policy.severity(
                code,
                if code == Code::SecondConnection { Severity::Error } else { Severity::Off },
            )
        });
        policy.severity(Code::SystemCall, Severity::Warn).on_finding(move |finding| {
            there.lock().unwrap().push(finding.what.clone());
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Somebody beside the database.
fn listener() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let _accepted: Vec<_> = listener.incoming().collect();
    });
    address
}
