use axum::{Router, extract::State, http::StatusCode, routing::post};
use diesel::{
    prelude::*,
    r2d2::{ConnectionManager, Pool},
};

diesel::table! { orders (id) { id -> Integer, state -> Text } }

type AppError = Box<dyn std::error::Error + Send + Sync>;
type Db = Pool<ConnectionManager<PgConnection>>;

fn deliver(db: &Db) -> Result<(), AppError> {
    db.get()?.transaction(|conn| {
        diesel::update(orders::table.find(1)).set(orders::state.eq("delivered")).execute(conn)?;
        Ok(())
    })
}

async fn handler(State(db): State<Db>) -> StatusCode {
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
    let db = Pool::builder().build_unchecked(manager);
    let app = Router::new().route("/deliver", post(handler)).with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    axum::serve(listener, app).await.unwrap();
}
