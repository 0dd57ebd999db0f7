//! The handler's error must be able to hold the library's: implement `From<txsafe_diesel::Error>` for it.

use txsafe_diesel::Database;

#[derive(Debug)]
struct AppError;

async fn handler(db: &Database) -> Result<(), AppError> {
    db.transaction("no From", async |_tx| Ok::<_, AppError>(())).await
}

fn main() {
    let _ = handler;
}
