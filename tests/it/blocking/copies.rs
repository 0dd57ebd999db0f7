//! COPY, which leaves libpq in a state of its own until it is read to its end.

use super::{credit, database};
use crate::support::{AppError, Shop, accounts};
use std::{io::Read, time::Duration};
use txsafe_diesel::{TxOptions, blocking::Tx};

/// Starts to read a table of so many rows, and stops after the first bytes.
fn read_half(tx: &mut Tx<'_>) -> Result<(), AppError> {
    let mut copy = diesel::copy_to(accounts::table).load_raw(&mut **tx)?;
    let mut bytes = [0; 16];
    copy.read_exact(&mut bytes).unwrap();
    Ok(())
}

#[tokio::test]
async fn a_copy_that_is_read_half_way_is_in_nobodys_way() {
    for rows in [10, 200_000] {
        let shop = Shop::open("blocking_copy").await;
        let sql = format!("INSERT INTO accounts SELECT n, 1 FROM generate_series(11, {rows}) n");
        shop.watcher.batch_execute(&sql).await.unwrap();
        let db = database(&shop, 1);
        // It is prepared before, and after.
        db.transaction("warm", |mut tx| Ok::<_, AppError>(credit(&mut tx, 2, 1)?)).unwrap();
        let options = TxOptions::new().statement_timeout(Duration::from_secs(5));
        db.with(options)
            .transaction("copy", |mut tx| {
                credit(&mut tx, 1, 1)?;
                read_half(&mut tx)?;
                credit(&mut tx, 2, 1)?;
                read_half(&mut tx)
            })
            .unwrap();
        assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (101, 102), "{rows}");
        db.transaction("after", |mut tx| Ok::<_, AppError>(credit(&mut tx, 2, 1)?)).unwrap();
        assert_eq!(shop.balance_of(2).await, 103);
    }
}
