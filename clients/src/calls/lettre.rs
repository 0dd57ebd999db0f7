//! lettre, async and blocking.

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, SmtpTransport, Tokio1Executor, Transport as _,
};
use tokio::task::block_in_place;

use super::pool;
use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::smtp;

pub(super) const CASES: &[Case] = &[
    Case::new("lettre.fresh", "send a mail over a new connection", Wait::Suspends, || {
        Box::pin(fresh())
    }),
    Case::new(
        "lettre.pooled",
        "send a mail over a connection that is kept",
        Wait::Suspends,
        || Box::pin(pooled()),
    ),
    Case::new("lettre.blocking", "send a mail, blocking", Wait::Blocks, || Box::pin(blocking())),
    Case::new(
        "lettre.block_in_place",
        "send a mail, blocking, inside of `block_in_place`",
        Wait::Blocks,
        || Box::pin(in_place()),
    ),
];

type Async = AsyncSmtpTransport<Tokio1Executor>;

async fn fresh() -> Result<Call, Failed> {
    let (transport, server) = start()?;
    let mail = mail()?;
    Ok(call(async move {
        send(&transport, mail).await?;
        Ok((transport, server))
    }))
}

async fn pooled() -> Result<Call, Failed> {
    let (transport, server) = start()?;
    let mail = mail()?;
    pool::fill(0, send(&transport, mail.clone())).await?;
    Ok(call(async move {
        pool::reuse(&server, send(&transport, mail)).await?;
        Ok((transport, server))
    }))
}

async fn blocking() -> Result<Call, Failed> {
    let (transport, server) = start_blocking()?;
    let mail = mail()?;
    Ok(call(async move {
        transport.send(&mail)?;
        Ok((transport, server))
    }))
}

async fn in_place() -> Result<Call, Failed> {
    let (transport, server) = start_blocking()?;
    let mail = mail()?;
    Ok(call(async move {
        block_in_place(|| transport.send(&mail))?;
        Ok((transport, server))
    }))
}

fn start() -> Result<(Async, Server), Failed> {
    let server = smtp::start()?;
    let transport = Async::builder_dangerous("127.0.0.1").port(server.address().port()).build();
    Ok((transport, server))
}

fn start_blocking() -> Result<(SmtpTransport, Server), Failed> {
    let server = smtp::start()?;
    let transport =
        SmtpTransport::builder_dangerous("127.0.0.1").port(server.address().port()).build();
    Ok((transport, server))
}

async fn send(transport: &Async, mail: Message) -> Result<(), Failed> {
    transport.send(mail).await?;
    Ok(())
}

fn mail() -> Result<Message, Failed> {
    let mail = Message::builder()
        .from("shop@example.org".parse()?)
        .to("alice@example.org".parse()?)
        .subject("Your order")
        .body("is on its way".to_owned())?;
    Ok(mail)
}
