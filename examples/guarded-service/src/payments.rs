//! The payment provider, as the shop sees it.

use anyhow::Result;
use std::sync::Arc;

/// A client of the payment provider.
#[derive(Debug, Clone)]
pub struct Payments {
    http: reqwest::Client,
    url: Arc<str>,
}

impl Payments {
    /// Knows that the provider is there, and has a connection to it.
    ///
    /// # Errors
    /// It isn't there.
    pub async fn connect(url: &str) -> Result<Self> {
        let payments = Self { http: reqwest::Client::new(), url: url.into() };
        payments.http.get(url).send().await?.error_for_status()?;
        Ok(payments)
    }

    /// Takes the money. Called twice, it takes it twice.
    pub(crate) async fn charge(&self, cents: u32) -> Result<String> {
        let url = format!("{}/charges/{cents}", self.url);
        let answer = self.http.post(url).send().await?; // it answers when it likes
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Reserves the money. If it isn't captured, it is the customer's again after some days.
    pub(crate) async fn authorize(&self, cents: u32) -> Result<String> {
        let url = format!("{}/authorizations/{cents}", self.url);
        Ok(self.http.post(url).send().await?.error_for_status()?.text().await?)
    }

    /// Takes what was reserved, once.
    pub(crate) async fn capture(&self, payment: &str) -> Result<()> {
        let url = format!("{}/captures/{payment}", self.url);
        self.http.post(url).send().await?.error_for_status()?;
        Ok(())
    }

    /// Sends the customer a receipt.
    pub(crate) async fn send_receipt(&self, ticket: i64) -> Result<()> {
        let url = format!("{}/receipts/{ticket}", self.url);
        self.http.post(url).send().await?.error_for_status()?;
        Ok(())
    }
}
