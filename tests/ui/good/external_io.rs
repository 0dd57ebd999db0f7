//! The functions that `#[external_io]` marks.

use async_trait::async_trait;
use std::{error::Error, fmt::Display, future::Future, pin::Pin};
use txsafe_diesel::guard::external_io;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Documented, and visible in its crate only.
#[external_io("stripe.charge")]
#[must_use]
pub(crate) async fn charge(mut cents: u32, text: &str) -> Result<Box<dyn Display + Send>> {
    if text.is_empty() {
        return Err("nothing to say".into());
    }
    cents += text.parse::<u32>()?;
    Ok(Box::new(cents))
}

#[external_io]
async fn borrows<'a, T: AsRef<str> + ?Sized>(of: &'a T, _other: &str) -> &'a str {
    of.as_ref()
}

#[external_io]
async fn nothing(text: String) {
    if text.is_empty() {
        return;
    }
    drop(text);
}

#[external_io]
async fn opaque(n: u32) -> impl Iterator<Item = u32> {
    0..n
}

#[external_io]
async fn never() -> ! {
    std::process::exit(0)
}

#[external_io]
fn blocks<F: Fn(u32) -> u32>(f: F) -> u32
where
    F: Clone,
{
    f.clone()(1)
}

#[external_io]
fn blocks_for_ever() -> ! {
    std::process::exit(0)
}

#[external_io]
fn counts(n: u32) -> impl Iterator<Item = u32> {
    0..n
}

#[external_io]
fn future(n: u32) -> impl Future<Output = u32> + Send {
    async move { n }
}

#[external_io]
fn boxed<'a>(n: &'a u32) -> Pin<Box<dyn Future<Output = u32> + Send + 'a>> {
    if *n == 0 {
        return Box::pin(async { 0 });
    }
    Box::pin(async move { *n })
}

#[external_io]
unsafe extern "C" fn foreign(n: u32) -> u32 {
    n
}

struct Client {
    name: String,
    calls: Vec<u32>,
}

impl Client {
    #[external_io("client.call")]
    async fn call(&mut self, n: u32) -> &mut Vec<u32> {
        self.calls.push(n);
        &mut self.calls
    }

    #[external_io]
    fn name(&self) -> &str {
        &self.name
    }

    #[external_io]
    fn calls(&mut self) -> &mut Vec<u32> {
        &mut self.calls
    }

    #[external_io]
    fn r#await(self) -> String {
        self.name
    }
}

trait Default {
    #[external_io("default.send")]
    async fn send(&self, n: u32) -> u32 {
        n
    }
}

impl Default for Client {}

#[async_trait]
trait Gateway {
    #[external_io]
    async fn by_default(&self, n: u32) -> Result<u32> {
        Ok(n)
    }

    async fn charge(&self, n: &str) -> Result<u32>;
}

#[async_trait]
impl Gateway for Client {
    #[external_io("gateway.charge")]
    async fn charge(&self, n: &str) -> Result<u32> {
        if n.is_empty() {
            return Err(self.name.clone().into());
        }
        Ok(n.parse()?)
    }
}

macro_rules! handed_on {
    ($visibility:vis $name:ident $called:literal $output:ty, $body:block) => {
        #[external_io($called)]
        $visibility async fn $name() -> $output $body
    };
}

#[rustfmt::skip]
#[external_io]
async fn in_one_line(n: u32) -> u32 { n }

#[rustfmt::skip]
#[external_io]
fn in_one_line_and_blocking() -> impl Copy { 7 }

handed_on!(pub by_example "by.example" u32, { 7 });

fn is_send<T: Send>(value: T) -> T {
    value
}

#[tokio::main(flavor = "current_thread")]
pub(super) async fn main() {
    assert_eq!(is_send(charge(1, "2")).await.unwrap().to_string(), "3");
    assert!(charge(1, "").await.is_err() && charge(1, "x").await.is_err());
    assert_eq!(is_send(borrows("text", "")).await, "text");
    nothing(String::new()).await;
    assert_eq!(opaque(3).await.count(), 3);
    assert_eq!(blocks(|n| n + 1), 2);
    assert_eq!(counts(3).count(), 3);
    assert_eq!(is_send(future(1)).await + is_send(boxed(&2)).await, 3);
    assert_eq!(unsafe { foreign(1) }, 1);
    let mut client = Client { name: "c".into(), calls: Vec::new() };
    client.call(1).await.push(2);
    client.calls().push(3);
    assert_eq!((client.name(), client.calls.as_slice()), ("c", [1, 2, 3].as_slice()));
    assert_eq!(client.send(1).await, 1);
    assert_eq!(is_send(client.by_default(1)).await.unwrap(), 1);
    assert_eq!(Gateway::charge(&client, "4").await.unwrap(), 4);
    assert!(Gateway::charge(&client, "").await.is_err());
    assert_eq!(client.r#await(), "c");
    assert_eq!(by_example().await, 7);
    in_one_line_and_blocking();
    assert_eq!(in_one_line(7).await, 7);
    let _ = (never, blocks_for_ever);
}
