use axum::{Router, extract::State, http::StatusCode, routing::post};
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, pooled_connection::deadpool::Pool};
use txsafe_diesel::{Database, manager};

diesel::table! { orders (id) { id -> Integer, state -> Text } }

type AppError = Box<dyn std::error::Error + Send + Sync>;

async fn deliver(db: &Database) -> Result<(), AppError> {
    db.transaction("deliver", async |mut tx| {
        diesel::update(orders::table.find(1)).set(orders::state.eq("delivered")).execute(&mut tx).await?;
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
    let pool = Pool::builder(manager("postgres://shop@localhost/shop")).build().unwrap();
    let db = Database::builder(pool).build().unwrap();
    let app = Router::new().route("/deliver", post(handler)).with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    axum::serve(listener, app).await.unwrap();
}
