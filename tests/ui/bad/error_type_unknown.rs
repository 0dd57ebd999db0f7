//! Nothing in this closure says what its error is: end it with `Ok::<_, AppError>(…)`.

use txsafe_diesel::Database;

async fn handler(db: &Database) {
    let _ = db.transaction("which error", async |_tx| Ok(())).await;
}

fn main() {
    let _ = handler;
}
