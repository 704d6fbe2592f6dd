//! Frames between the HSM worker and its parent, who believes none of them beyond their form.

use std::fmt::Debug;

use chancery_hsm::wire::{Inbox, Reply, Request, Started, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Seen;

/// Every whole frame of a stream that is read in pieces, up to the first that is none.
fn all<T: DeserializeOwned>(stream: &[u8], piece: usize) -> Vec<T> {
    let (mut inbox, mut frames) = (Inbox::default(), Vec::new());
    for part in stream.chunks(piece.max(1)) {
        inbox.space().extend_from_slice(part);
        loop {
            match inbox.take() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// What a stream says to one who waits for `T`: its frames, each as its `Debug`.
fn heard<T: DeserializeOwned + Serialize + Debug>(stream: &[u8], piece: usize) -> Vec<String> {
    let (frames, mut written) = (all::<T>(stream, piece), Vec::new());
    for frame in &frames {
        encode(frame, &mut written).unwrap();
    }
    let told = |frames: &[T]| frames.iter().map(|frame| format!("{frame:?}")).collect::<Vec<_>>();
    let frames = told(&frames);
    assert_eq!(frames, told(&all::<T>(&written, usize::MAX)), "what was written is read");
    frames
}

/// To a parent who waits for an answer, to one who waits for the first, and to a worker.
fn ways(stream: &[u8], piece: usize) -> [Vec<String>; 3] {
    [
        heard::<(u64, Reply)>(stream, piece),
        heard::<Started>(stream, piece),
        heard::<(u64, Request)>(stream, piece),
    ]
}

/// The first byte says where the stream is cut.
pub(super) fn frames(input: &[u8]) -> Seen {
    let (cut, stream) = input.split_first().unwrap_or((&1, &[]));
    let ways = ways(stream, usize::from(*cut));
    assert_eq!(ways, self::ways(stream, usize::MAX), "where a stream is cut does not matter");
    match ways.iter().find_map(|frames| frames.first()) {
        None => Seen::refused(&"no frame"),
        Some(frame) => {
            let kind = frame.split([' ', '{', '[']).take(3).collect::<Vec<_>>();
            Seen::accepted(&(kind, ways.each_ref().map(|frames| frames.len().min(3))))
        }
    }
}

/// Frames as postcard writes them: a length in four bytes, then a call's number and its variant.
pub(super) fn streams() -> Vec<Vec<u8>> {
    let frame = |body: &[u8]| [u32::try_from(body.len()).unwrap().to_le_bytes().as_slice(), body].concat();
    let signature = [&[9, 0, 64][..], &[7; 64]].concat();
    let public = [&[9, 1, 0, 33][..], &[2; 33]].concat();
    let failed = [&[9, 4, 1, 5][..], b"what?"].concat();
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let ready = [
        vec![0],
        ["label", "serial", "maker", "model", "1.0", "library"].map(text).concat(),
        vec![1],
        text("CKM"),
        vec![0],
    ]
    .concat();
    let sign = [&[3, 0][..], &[5; 16], &[0, 33], &[2; 33], &[0], &[8; 32]].concat();
    let generate = [&[4, 1][..], &[5; 16], &[2], &text("name")].concat();
    let bodies = [signature, public, failed, vec![9, 2], vec![1, 3], ready, sign, generate, vec![6, 5]];
    let mut streams: Vec<Vec<u8>> = bodies.iter().map(|body| [vec![3], frame(body)].concat()).collect();
    streams.push([vec![1], frame(&bodies[0]), frame(&bodies[3]), frame(&bodies[2])].concat());
    streams
}
