//! Which clients are known, by what they log.

use self::Place::{Above, Alone, Below};
use txsafe::guard::note_first_external_call;

/// The clients that are known. What counts is what they log in the caller's own task; what servers of the same crates log
/// has other targets.
///
/// Read from the sources of reqwest 0.13, hyper-util 0.1, hyper 1, h2 0.4, tower 0.5, tonic 0.14, lettre 0.11, lapin 4,
/// async-nats 0.51 and ureq 3. hyper and hyper-util log with their feature `tracing` only.
pub(super) const KNOWN: [Client; 16] = [
    Client { target: "reqwest", name: "reqwest", place: Above },
    Client { target: "tonic::client", name: "tonic", place: Above },
    Client { target: "tonic::transport::channel", name: "tonic", place: Above },
    Client { target: "aws_config", name: "AWS", place: Above },
    Client { target: "aws_sdk_", name: "AWS", place: Above },
    Client { target: "aws_smithy_http_client", name: "AWS", place: Above },
    Client { target: "aws_smithy_runtime", name: "AWS", place: Above },
    Client { target: "hyper::client", name: "hyper", place: Below },
    Client { target: "hyper_util::client", name: "hyper", place: Below },
    Client { target: "h2::client", name: "hyper", place: Below },
    // All that a channel of tonic logs in the caller's task.
    Client { target: "tower::buffer", name: "a service behind tower's buffer", place: Below },
    Client { target: "lettre", name: "lettre", place: Alone },
    Client { target: "lapin", name: "lapin", place: Alone },
    Client { target: "async_nats", name: "async-nats", place: Alone },
    Client { target: "ureq", name: "ureq", place: Alone },
    Client { target: "ureq_proto", name: "ureq", place: Alone },
];

/// A client, and what it logs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// The target of its events, or what targets begin with, if it ends in `_`.
    pub(super) target: &'static str,
    pub(super) name: &'static str,
    pub(super) place: Place,
}

/// One call may be heard of twice: from the client, and from the transport that it calls.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// It is called, and calls a transport.
    Above,
    /// It is a transport: told of only if no client above it was.
    Below,
    /// It does everything itself.
    Alone,
}

/// The clients that one layer hears of.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Vec<Client>,
    transports: Vec<&'static str>,
    over_transports: Vec<&'static str>,
}

impl Clients {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        let (mut transports, mut over_transports) = (Vec::new(), Vec::new());
        for client in &clients {
            match client.place {
                Above => over_transports.push(client.name),
                Below => transports.push(client.name),
                Alone => {}
            }
        }
        // Of two transports, one may carry the other.
        over_transports.extend(&transports);
        Self { clients, transports, over_transports }
    }

    pub(super) fn find(&self, target: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.logs(target))
    }

    /// Tells the guard that this was logged.
    pub(super) fn heard(&self, target: &str) {
        let Some(client) = self.find(target) else { return };
        let unless: &[_] = match client.place {
            Above => &self.transports,
            Below => &self.over_transports,
            Alone => &[],
        };
        note_first_external_call(client.name, unless);
    }
}

impl Client {
    fn logs(&self, target: &str) -> bool {
        match target.strip_prefix(self.target) {
            None => false,
            Some(rest) => rest.is_empty() || rest.starts_with("::") || self.target.ends_with('_'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_their_targets() {
        let clients = Clients::new(KNOWN.to_vec());
        let name = |target| clients.find(target).map(|client| client.name);
        assert_eq!(name("reqwest"), Some("reqwest"));
        assert_eq!(name("reqwest::connect"), Some("reqwest"));
        assert_eq!(name("aws_sdk_s3::operation::put_object"), Some("AWS"));
        assert_eq!(name("hyper_util::client::legacy::pool"), Some("hyper"));
    }

    #[test]
    fn what_only_sounds_like_one_is_none() {
        let clients = Clients::new(KNOWN.to_vec());
        for target in
            ["reqwest_tracing", "ureqs", "h2::server", "tonic::transport::server", "shop", ""]
        {
            assert!(clients.find(target).is_none(), "{target}");
        }
    }
}
