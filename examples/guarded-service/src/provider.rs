//! A payment provider that takes its time, in this process.

use anyhow::Result;
use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
    serve,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    time::sleep,
};

/// A payment provider, on a port of its own.
#[derive(Debug)]
pub struct Provider {
    url: String,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    takes: Duration,
    /// A payment was asked for.
    asked: Notify,
    /// Payments are to wait.
    is_held: watch::Sender<bool>,
    /// What was done, in order.
    done: watch::Sender<Vec<String>>,
}

impl Provider {
    /// Starts one that takes so long for each answer.
    ///
    /// # Errors
    /// There is no port for it.
    pub async fn start(takes: Duration) -> Result<Self> {
        let desk = Arc::new(Desk {
            takes,
            asked: Notify::new(),
            is_held: watch::Sender::new(false),
            done: watch::Sender::new(Vec::new()),
        });
        let app = Router::new()
            .route("/", get(|| async {}))
            .route("/charges/{cents}", post(pay))
            .route("/authorizations/{cents}", post(pay))
            .route("/captures/{payment}", post(capture))
            .route("/receipts/{ticket}", post(send_receipt))
            .with_state(Arc::clone(&desk));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(serve(listener, app).into_future());
        Ok(Self { url, desk })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until a payment is asked for.
    pub async fn asked(&self) {
        self.desk.asked.notified().await;
    }

    /// Whether payments are to wait until this is called again.
    pub fn hold(&self, hold: bool) {
        self.desk.is_held.send_replace(hold);
    }

    /// What it has done, in order.
    #[must_use]
    pub fn done(&self) -> Vec<String> {
        self.desk.done.borrow().clone()
    }
}

impl Desk {
    async fn work(&self, done: String) {
        sleep(self.takes).await;
        self.done.send_modify(|all| all.push(done));
    }
}

async fn pay(State(desk): State<Arc<Desk>>, Path(cents): Path<u32>) -> String {
    desk.asked.notify_one();
    // The sender is ours, so it lives.
    let _ = desk.is_held.subscribe().wait_for(|is_held| !is_held).await;
    desk.work(format!("payment of {cents} cents")).await;
    "p-1".to_owned()
}

async fn capture(State(desk): State<Arc<Desk>>, Path(payment): Path<String>) {
    desk.work(format!("capture of {payment}")).await;
}

async fn send_receipt(State(desk): State<Arc<Desk>>, Path(_ticket): Path<i64>) {
    desk.work("receipt".to_owned()).await;
}
