use axum::{Router, extract::State, http::StatusCode, routing::post};
use diesel::prelude::*;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl,
    pooled_connection::{AsyncDieselConnectionManager, deadpool::Pool},
};

diesel::table! { orders (id) { id -> Integer, state -> Text } }

type AppError = Box<dyn std::error::Error + Send + Sync>;

async fn deliver(db: &Pool<AsyncPgConnection>) -> Result<(), AppError> {
    let mut conn = db.get().await?;
    conn.transaction::<_, AppError, _>(async |conn| {
        diesel::update(orders::table.find(1)).set(orders::state.eq("delivered")).execute(conn).await?;
        Ok(())
    })
    .await
}

async fn handler(State(db): State<Pool<AsyncPgConnection>>) -> StatusCode {
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
    let manager = AsyncDieselConnectionManager::new("postgres://shop@localhost/shop");
    let db = Pool::builder(manager).build().unwrap();
    let app = Router::new().route("/deliver", post(handler)).with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    axum::serve(listener, app).await.unwrap();
}
