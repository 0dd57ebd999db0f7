//! A request of reqwest in a transaction, answered by a middleware that sends nothing.

use crate::support::{called, found, with_lines};
use async_trait::async_trait;
use http::Extensions;
use reqwest_middleware::{
    ClientBuilder, ClientWithMiddleware, Middleware, Next, Result,
    reqwest::{Client, Request, Response},
};
use txsafe_layers::ExternalMiddleware;
use txsafe_sqlx::guard::Policy;

struct Mock;

#[async_trait]
impl Middleware for Mock {
    async fn handle(&self, _: Request, _: &mut Extensions, _: Next<'_>) -> Result<Response> {
        tokio::task::yield_now().await;
        Ok(http::Response::new("paid").into())
    }
}

fn client() -> ClientWithMiddleware {
    ClientBuilder::new(Client::new()).with(ExternalMiddleware::new()).with(Mock).build()
}

async fn pay(client: &ClientWithMiddleware) -> String {
    let url = "https://ada:secret@pay.example:8443/charges/4711?key=secret";
    client.post(url).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_request_is_found_without_its_secrets() {
    let client = client();
    assert_eq!(pay(&client).await, "paid");
    let found = found(Policy::production(), || pay(&client)).await;
    assert_eq!(called(&found), ["called POST https://pay.example:8443"]);
    assert!(found[0].waited.is_some());
}

#[tokio::test]
async fn the_finding_names_the_line_that_awaits() {
    let client = client();
    let found = found(with_lines(), || pay(&client)).await;
    let site = found[0].site.as_ref().unwrap();
    assert!(site.file.ends_with("tests/it/reqwest.rs"), "{site}");
}
