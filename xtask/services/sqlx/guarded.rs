use axum::{Router, extract::State, http::StatusCode, routing::post};
use sqlx::query;
use txsafe_sqlx::{Database, pool_options};

type AppError = Box<dyn std::error::Error + Send + Sync>;

async fn deliver(db: &Database) -> Result<(), AppError> {
    db.transaction("deliver", async |mut tx| {
        query("UPDATE orders SET state = 'delivered' WHERE id = $1").bind(1).execute(&mut tx).await?;
        Ok(())
    })
    .await
}

async fn handler(State(db): State<Database>) -> StatusCode {
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
    let pool = pool_options().connect_lazy("postgres://shop@localhost/shop").unwrap();
    let db = Database::builder(pool).build().unwrap();
    let app = Router::new().route("/deliver", post(handler)).with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    axum::serve(listener, app).await.unwrap();
}
