//! Bytes that no server would send, and cuts that no network would make: nothing panics, hangs or grows.
//!
//! `TXSAFE_FUZZ_FRAMES` sets how many frames (200,000 unless set), `TXSAFE_SEED` repeats a run.

use super::{
    frames::{Frames, LONGEST_BODY},
    link::Link,
    stream::Observed,
};
use fastrand::Rng;
use std::{env, panic, str::FromStr, sync::Arc, time::Instant};
use txsafe::driver::Notes;

const FRAMES: u64 = 200_000;

/// Frames are fed in batches of so many.
const BATCH: u64 = 64;

#[test]
fn frames_are_the_same_however_they_are_cut() {
    each_batch(|dice| {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            let (kind, body) = (dice.u8(..), body(dice));
            push_frame(&mut bytes, kind, body.len() + 4, &body);
            expected.push((kind, if is_kept(kind) { cut(&body).to_vec() } else { vec![] }));
        }
        let (mut frames, mut seen) = (Frames::of_server(), Vec::new());
        for part in parts(dice, &bytes) {
            frames.feed(part, is_kept, |kind, body| seen.push((kind, body.to_vec())));
            assert!(frames.memory() <= 2 * LONGEST_BODY);
        }
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_link_takes_any_bytes_in_both_directions() {
    let link = Arc::new(Link::on_wire());
    let mut stream = Observed::new((), Arc::clone(&link));
    each_batch(|dice| {
        link.begin(dice.bool(), Notes::default());
        let [mut from_client, mut from_server] = [(); 2].map(|()| Vec::new());
        for _ in 0..BATCH / 2 {
            for (bytes, kinds) in [(&mut from_client, b"QSFCPBDE"), (&mut from_server, b"EECCZZDS")]
            {
                let kind =
                    if dice.u8(..9) > 0 { *dice.choice(kinds).unwrap_or(&0) } else { dice.u8(..) };
                let body = body(dice);
                // Now and then a length that lies.
                let length = if dice.u8(..50) > 0 { body.len() + 4 } else { dice.usize(..512) };
                push_frame(bytes, kind, length, &body);
            }
        }
        let sent = parts(dice, &from_client);
        let received = parts(dice, &from_server);
        for n in 0..sent.len().max(received.len()) {
            stream.sent(sent.get(n).copied().unwrap_or_default(), Instant::now());
            stream.received(received.get(n).copied().unwrap_or_default());
        }
        let _ = (link.standing(dice.bool()), link.failure(), link.is_settled(), link.take_trail());
        assert!(format!("{link:?}").starts_with("Link"));
        assert!(stream.memory() <= 4 * LONGEST_BODY);
        link.finish();
    });
}

/// Runs `batch` until enough frames were fed; a panic names the seed that repeats it.
fn each_batch(mut batch: impl FnMut(&mut Rng)) {
    let seed = from_env("TXSAFE_SEED").unwrap_or_else(|| fastrand::u64(..));
    let frames = from_env("TXSAFE_FUZZ_FRAMES").unwrap_or(FRAMES);
    let mut dice = Rng::with_seed(seed);
    for n in 0..frames.div_ceil(BATCH) {
        let fed = panic::catch_unwind(panic::AssertUnwindSafe(|| batch(&mut dice)));
        assert!(fed.is_ok(), "in batch {n}; repeat it with TXSAFE_SEED={seed}");
    }
}

fn from_env<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    let parsed = value.parse().ok();
    assert!(parsed.is_some(), "{name} must be a number, not {value:?}");
    parsed
}

/// Mostly short and rarely longer than what is kept; zeros separate the fields of errors.
fn body(dice: &mut Rng) -> Vec<u8> {
    let length = match dice.u16(..2_000) {
        0 => dice.usize(..2 * LONGEST_BODY),
        1..200 => dice.usize(..300),
        _ => dice.usize(..24),
    };
    let words: [&[u8]; 8] = [
        b"C40P01\0",
        b"VERROR\0",
        b"VFATAL\0",
        b"Mno\0",
        b"BEGIN\0",
        b"COMMIT\0",
        b"ROLLBACK\0",
        b"T",
    ];
    let mut body = Vec::with_capacity(length + 8);
    while body.len() < length {
        match dice.choice(words) {
            Some(word) if dice.u8(..4) > 0 => body.extend(word),
            _ => body.push(dice.u8(..)),
        }
    }
    body
}

fn push_frame(bytes: &mut Vec<u8>, kind: u8, length: usize, body: &[u8]) {
    bytes.push(kind);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(body);
}

/// Cuts at random places, some of them between two neighbours.
fn parts<'a>(dice: &mut Rng, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let longest = *dice.choice(&[1, 7, 100, 8_192]).unwrap_or(&1);
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (part, rest) = bytes.split_at(dice.usize(1..=longest).min(bytes.len()));
        parts.push(part);
        bytes = rest;
    }
    parts
}

fn is_kept(kind: u8) -> bool {
    kind.is_multiple_of(2)
}

fn cut(body: &[u8]) -> &[u8] {
    &body[..body.len().min(LONGEST_BODY)]
}
