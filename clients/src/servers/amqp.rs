//! An AMQP broker that loses every message, and confirms them where that is asked for.

use std::io;

use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection};
use amq_protocol::types::{ChannelId, FieldTable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::plain::{Server, hesitate};

/// Starts one.
///
/// # Errors
///
/// As [`Server::start`].
pub fn start() -> io::Result<Server> {
    Server::start(serve)
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut broker = Broker::default();
    let mut received = Vec::new();
    while stream.read_buf(&mut received).await? > 0 {
        while let Some(frame) = take_frame(&mut received) {
            if let Some((channel, answer)) = broker.answer(frame) {
                hesitate().await;
                stream.write_all(&bytes_of(channel, answer)?).await?;
            }
        }
    }
    Ok(())
}

/// What it has to know about its one connection, which has one channel.
#[derive(Debug, Default)]
struct Broker {
    confirms: bool,
    messages: u64,
}

impl Broker {
    fn answer(&mut self, frame: AMQPFrame) -> Option<(ChannelId, AMQPClass)> {
        match frame {
            AMQPFrame::ProtocolHeader(_) => Some((0, start_connection())),
            AMQPFrame::Method(channel, class) => Some((channel, self.reply(class)?)),
            // A message is over with its body; ours fit into one frame.
            AMQPFrame::Body(channel, _) => Some((channel, self.confirm()?)),
            AMQPFrame::Header(..) | AMQPFrame::Heartbeat | AMQPFrame::InvalidHeartbeat(_) => None,
        }
    }

    fn reply(&mut self, class: AMQPClass) -> Option<AMQPClass> {
        use channel::AMQPMethod as Channel;
        use confirm::AMQPMethod as Confirm;
        use connection::AMQPMethod as Connection;

        Some(match class {
            AMQPClass::Connection(Connection::StartOk(_)) => tune(),
            AMQPClass::Connection(Connection::Open(_)) => {
                AMQPClass::Connection(Connection::OpenOk(connection::OpenOk {}))
            }
            AMQPClass::Connection(Connection::Close(_)) => {
                AMQPClass::Connection(Connection::CloseOk(connection::CloseOk {}))
            }
            AMQPClass::Channel(Channel::Open(_)) => {
                AMQPClass::Channel(Channel::OpenOk(channel::OpenOk {}))
            }
            AMQPClass::Channel(Channel::Close(_)) => {
                AMQPClass::Channel(Channel::CloseOk(channel::CloseOk {}))
            }
            AMQPClass::Confirm(Confirm::Select(_)) => {
                self.confirms = true;
                AMQPClass::Confirm(Confirm::SelectOk(confirm::SelectOk {}))
            }
            // The rest wants no answer.
            _ => return None,
        })
    }

    fn confirm(&mut self) -> Option<AMQPClass> {
        self.messages += 1;
        let ack = basic::Ack { delivery_tag: self.messages, multiple: false };
        self.confirms.then_some(AMQPClass::Basic(basic::AMQPMethod::Ack(ack)))
    }
}

fn start_connection() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Start(connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: FieldTable::default(),
        mechanisms: "PLAIN".into(),
        locales: "en_US".into(),
    }))
}

fn tune() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Tune(connection::Tune {
        channel_max: 1,
        frame_max: 128 << 10,
        heartbeat: 0,
    }))
}

/// The first frame, if all of it is there.
fn take_frame(received: &mut Vec<u8>) -> Option<AMQPFrame> {
    let (rest, frame) = parse_frame(received.as_slice()).ok()?;
    let rest = rest.len();
    received.drain(..received.len() - rest);
    Some(frame)
}

fn bytes_of(channel: ChannelId, class: AMQPClass) -> io::Result<Vec<u8>> {
    gen_frame(&AMQPFrame::Method(channel, class))(WriteContext::from(Vec::new()))
        .map(|context| context.write)
        .map_err(io::Error::other)
}
