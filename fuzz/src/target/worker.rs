//! Frames between the HSM worker and its parent, who believes none of them beyond their form.

use chancery_hsm::heard;

use crate::Seen;

/// The first byte says where the stream is cut.
pub(super) fn frames(input: &[u8]) -> Seen {
    let (cut, stream) = input.split_first().unwrap_or((&1, &[]));
    let ways = heard(stream, usize::from(*cut));
    for ((frames, again), (whole, _)) in ways.iter().zip(&heard(stream, usize::MAX)) {
        assert_eq!(frames, again, "what was written is read");
        assert_eq!(frames, whole, "where a stream is cut does not matter");
    }
    let first = ways.iter().find_map(|(frames, _)| frames.first());
    first.map_or(Seen::refused(&stream.len().min(5)), |frame| {
        Seen::accepted(&(
            frame.split([' ', '{', '[']).take(3).collect::<Vec<_>>(),
            ways.each_ref().map(|way| way.0.len().min(3)),
        ))
    })
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
