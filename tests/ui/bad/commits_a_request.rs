//! A handler ends the transaction of its request, which its layer does.

use axum::http::StatusCode;
use txsafe_diesel::Database;
use txsafe_layers::RequestTx;

async fn commits(tx: RequestTx<Database>) -> StatusCode {
    let _ended = tx.commit().await;
    StatusCode::OK
}

async fn rolls_back(tx: RequestTx<Database>) -> StatusCode {
    let _ended = tx.rollback().await;
    StatusCode::CONFLICT
}

fn main() {
    drop((commits, rolls_back));
}
