//! Splits the bytes of a PostgreSQL connection into messages, and keeps the bodies of a few.
//!
//! Source: PostgreSQL manual, section 54.7, "Message Formats": a message is a type byte, a length that counts itself
//! but not the type, and a body. Only the first message of a client has no type byte.

/// The most that is kept of one message: errors with a long DETAIL or CONTEXT are cut here.
pub(crate) const LONGEST_BODY: usize = 16 * 1024;

/// The type given to the first message of a client.
pub(crate) const STARTUP: u8 = 0;

/// An incremental splitter for one direction of a connection. It never holds more than [`LONGEST_BODY`] bytes.
#[derive(Debug)]
pub(crate) struct Frames {
    header: [u8; 5],
    header_len: usize,
    /// Bytes of the current body that are still to come.
    left: usize,
    body: Vec<u8>,
    keep: bool,
}

impl Frames {
    /// For the server's messages.
    pub(crate) fn of_server() -> Self {
        Self { header: [0; 5], header_len: 0, left: 0, body: Vec::new(), keep: false }
    }

    /// For the client's messages, from its first byte on.
    pub(crate) fn of_client() -> Self {
        // The first message is read as if its missing type byte had been there.
        Self { header: [STARTUP, 0, 0, 0, 0], header_len: 1, ..Self::of_server() }
    }

    /// Takes the next bytes. `keep` says of a message type whether its body is wanted; `each` gets every message once
    /// it is complete, with its body (cut at [`LONGEST_BODY`]) or without.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        keep: impl Fn(u8) -> bool,
        mut each: impl FnMut(u8, &[u8]),
    ) {
        while !bytes.is_empty() {
            if self.header_len == 0
                && let Some((kind, body, rest)) = whole(bytes)
            {
                // Nearly all messages come whole, and needn't be copied.
                let body = if keep(kind) { &body[..body.len().min(LONGEST_BODY)] } else { &[] };
                each(kind, body);
                bytes = rest;
                continue;
            }
            if self.header_len < self.header.len() {
                let n = (self.header.len() - self.header_len).min(bytes.len());
                self.header[self.header_len..][..n].copy_from_slice(&bytes[..n]);
                self.header_len += n;
                bytes = &bytes[n..];
                if self.header_len < self.header.len() {
                    return;
                }
                let [kind, length @ ..] = self.header;
                // A length below 4 can't be; the driver will refuse it, we only must not be confused.
                self.left = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                self.keep = keep(kind);
                self.body.clear();
            }
            let n = self.left.min(bytes.len());
            if self.keep {
                let room = LONGEST_BODY - self.body.len();
                self.body.extend_from_slice(&bytes[..n.min(room)]);
            }
            self.left -= n;
            bytes = &bytes[n..];
            if self.left == 0 {
                self.header_len = 0;
                each(self.header[0], &self.body);
                self.body.clear();
            }
        }
    }
}

#[cfg(test)]
impl Frames {
    /// The bytes that are set aside for a body.
    pub(super) fn memory(&self) -> usize {
        self.body.capacity()
    }
}

/// The type and the body of the first message, if it is there to its end, and what comes after it.
fn whole(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<5>()?;
    let [kind, length @ ..] = *header;
    let length = (u32::from_be_bytes(length) as usize).checked_sub(4)?;
    let (body, rest) = rest.split_at_checked(length)?;
    Some((kind, body, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn split(frames: &mut Frames, bytes: &[u8], chunk: usize) -> Vec<(u8, Vec<u8>)> {
        let mut seen = Vec::new();
        for part in bytes.chunks(chunk) {
            frames.feed(part, |kind| kind != b'D', |kind, body| seen.push((kind, body.to_vec())));
        }
        seen
    }

    #[test]
    fn the_cut_of_the_chunks_does_not_matter() {
        let bytes = [
            message(b'C', b"SELECT 1\0"),
            message(b'D', &[7; 300]),
            message(b'N', b""),
            message(b'Z', b"T"),
        ]
        .concat();
        let whole = split(&mut Frames::of_server(), &bytes, bytes.len());
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[0], (b'C', b"SELECT 1\0".to_vec()));
        assert_eq!(whole[1], (b'D', vec![]), "a body that isn't wanted isn't kept");
        assert_eq!(whole[3], (b'Z', b"T".to_vec()));
        for chunk in 1..40 {
            assert_eq!(split(&mut Frames::of_server(), &bytes, chunk), whole);
        }
    }

    #[test]
    fn the_first_message_of_a_client_has_no_type() {
        let mut bytes = message(b'?', b"user\0me\0\0");
        bytes.remove(0);
        bytes.extend(message(b'Q', b"SELECT 1\0"));
        let seen = split(&mut Frames::of_client(), &bytes, 3);
        assert_eq!(seen.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [STARTUP, b'Q']);
    }

    #[test]
    fn memory_is_bounded_whatever_the_length_says() {
        let mut frames = Frames::of_server();
        frames.feed(&[b'E', 0xff, 0xff, 0xff, 0xff], |_| true, |_, _| {});
        for _ in 0..1_000 {
            frames.feed(&[1; 1024], |_| true, |_, _| {});
        }
        assert!(frames.memory() <= 2 * LONGEST_BODY);
    }
}
