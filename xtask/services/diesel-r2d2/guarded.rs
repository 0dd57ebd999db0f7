use axum::{Router, extract::State, http::StatusCode, routing::post};
use diesel::{prelude::*, r2d2::ConnectionManager};
use txsafe_diesel::blocking::{Database, pool_builder};

diesel::table! { orders (id) { id -> Integer, state -> Text } }

type AppError = Box<dyn std::error::Error + Send + Sync>;

fn deliver(db: &Database) -> Result<(), AppError> {
    db.transaction("deliver", |mut tx| {
        diesel::update(orders::table.find(1)).set(orders::state.eq("delivered")).execute(&mut *tx)?;
        Ok(())
    })
}

async fn handler(State(db): State<Database>) -> StatusCode {
    match tokio::task::spawn_blocking(move || deliver(&db)).await.unwrap() {
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
    let manager = ConnectionManager::new("postgres://shop@localhost/shop");
    let pool = pool_builder().build_unchecked(manager);
    let db = Database::builder(pool).build().unwrap();
    let app = Router::new().route("/deliver", post(handler)).with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    axum::serve(listener, app).await.unwrap();
}
