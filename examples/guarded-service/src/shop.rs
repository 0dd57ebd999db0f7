//! The shop: one handler, before and after somebody read what the guard said of it.

use crate::payments::Payments;
use anyhow::{Result, ensure};
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
    serve,
};
use sqlx::{PgExecutor, query, query_scalar};
use std::sync::Arc;
use tokio::net::TcpListener;
use txsafe_sqlx::Database;

/// What the shop keeps.
pub const TABLES: &str = "
    CREATE TABLE concerts (id bigint PRIMARY KEY, seats_left int NOT NULL);
    CREATE TABLE tickets (
        id      bigserial PRIMARY KEY,
        concert bigint NOT NULL REFERENCES concerts,
        payment text NOT NULL
    );
    INSERT INTO concerts VALUES (1, 100)";

/// The concert that everybody wants to hear.
pub const CONCERT: i64 = 1;

const PRICE_CENTS: u32 = 4_500;

/// A shop that sells tickets.
#[derive(Debug)]
pub struct Shop {
    db: Database,
    payments: Payments,
}

impl Shop {
    /// Opens one; where it is.
    ///
    /// # Errors
    /// There is no port for it.
    pub async fn open(db: Database, payments: Payments) -> Result<String> {
        let app = Router::new()
            .route("/before", post(buy_before))
            .route("/after", post(buy_after))
            .with_state(Arc::new(Self { db, payments }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(serve(listener, app).into_future());
        Ok(url)
    }
}

/// As it is found in many a service. All is in one transaction, so that all is undone if something fails; but a charge
/// isn't undone, and if a deadlock has the transaction tried again it is charged again.
async fn buy_before(State(shop): State<Arc<Shop>>) -> Result<String, Failed> {
    let sold = shop.db.transaction("buy_ticket", async |mut tx| {
        take_seat(&mut tx).await?; // the row is locked from here on
        let payment = shop.payments.charge(PRICE_CENTS).await?; // and everybody waits for the provider
        let ticket = note_ticket(&mut tx, &payment).await?;
        shop.payments.send_receipt(ticket).await?;
        anyhow::Ok(ticket)
    });
    Ok(sold.await?.to_string())
}

/// Asks before, writes, and does behind what can't be undone.
async fn buy_after(State(shop): State<Arc<Shop>>) -> Result<String, Failed> {
    let payment = shop.payments.authorize(PRICE_CENTS).await?;
    let sold = shop.db.transaction("buy_ticket", async |mut tx| {
        take_seat(&mut tx).await?;
        let ticket = note_ticket(&mut tx, &payment).await?;
        let (payments, payment) = (shop.payments.clone(), payment.clone());
        tx.after_commit(async move || {
            payments.capture(&payment).await?;
            payments.send_receipt(ticket).await
        });
        anyhow::Ok(ticket)
    });
    Ok(sold.await?.to_string())
}

async fn take_seat(db: impl PgExecutor<'_>) -> Result<()> {
    let sql = "UPDATE concerts SET seats_left = seats_left - 1 WHERE id = $1 AND seats_left > 0";
    let taken = query(sql).bind(CONCERT).execute(db).await?;
    ensure!(taken.rows_affected() == 1, "sold out");
    Ok(())
}

async fn note_ticket(db: impl PgExecutor<'_>, payment: &str) -> Result<i64> {
    let sql = "INSERT INTO tickets (concert, payment) VALUES ($1, $2) RETURNING id";
    Ok(query_scalar(sql).bind(CONCERT).bind(payment).fetch_one(db).await?)
}

/// Why there is no ticket.
#[derive(Debug)]
struct Failed(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", self.0)).into_response()
    }
}
