use axum::{Router, extract::State, http::StatusCode, routing::post};
use sqlx::{PgPool, postgres::PgPoolOptions, query};

async fn deliver(db: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    query("UPDATE orders SET state = 'delivered' WHERE id = $1").bind(1).execute(&mut *tx).await?;
    tx.commit().await
}

async fn handler(State(db): State<PgPool>) -> StatusCode {
    match deliver(&db).await {
        Ok(()) => StatusCode::OK,
        Err(error) => {
            tracing::error!(%error);
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt::init();
    let db = PgPoolOptions::new().connect_lazy("postgres://shop@localhost/shop").unwrap();
    let app = Router::new().route("/deliver", post(handler)).with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    axum::serve(listener, app).await.unwrap();
}
