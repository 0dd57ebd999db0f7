//! lapin, with publisher confirms and without.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm};

use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::amqp;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "lapin.connect",
        "connect and open a channel",
        Wait::Suspends,
        || Box::pin(connect()),
    ),
    Case::new("lapin.publish", "publish, without confirms", Wait::Yields, || Box::pin(publish())),
    Case::new("lapin.confirm", "publish and await the confirm", Wait::Suspends, || {
        Box::pin(confirm())
    }),
];

async fn connect() -> Result<Call, Failed> {
    let server = amqp::start()?;
    Ok(call(async move { Ok((open(&server).await?, server)) }))
}

async fn publish() -> Result<Call, Failed> {
    let server = amqp::start()?;
    let (connection, channel) = open(&server).await?;
    Ok(call(async move {
        // Awaits only that the connection's own task has it; there will be no confirm.
        let confirm = send(&channel).await?;
        Ok((confirm, channel, connection, server))
    }))
}

async fn confirm() -> Result<Call, Failed> {
    let server = amqp::start()?;
    let (connection, channel) = open(&server).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(call(async move {
        let confirmation = send(&channel).await?.await?;
        if !confirmation.is_ack() {
            return Err("the broker didn't confirm".into());
        }
        Ok((channel, connection, server))
    }))
}

async fn open(server: &Server) -> Result<(Connection, Channel), Failed> {
    let uri = format!("amqp://{}/%2f", server.address());
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

async fn send(channel: &Channel) -> Result<PublisherConfirm, Failed> {
    let confirm = channel
        .basic_publish(
            "".into(),
            "orders".into(),
            BasicPublishOptions::default(),
            b"paid",
            BasicProperties::default(),
        )
        .await?;
    Ok(confirm)
}
