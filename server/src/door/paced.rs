//! The body of an answer, handed over in pieces so that its clock sees how much the other side takes.
//!
//! On HTTP/2 the last byte goes by itself: hyper asks for the next piece only when the flow-control window took the one
//! before, so the answer counts as taken only when the window admitted all of it. If this is wrong, closed windows pin
//! answers in memory.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use chancery_core::limit;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::pulse::Visit;

/// LIMIT: one piece, in bytes: a frame of HTTP/2 at its default size.
const PIECE_BYTES: usize = 16 * 1024;

/// A body whose end is the end of its visit.
pub(crate) struct Paced {
    inner: Body,
    rest: Bytes,
    last_byte_apart: bool,
    visit: Visit,
    /// Bytes handed over since the clock was set; `None` while we owe the next piece.
    taken: Option<usize>,
}

impl Paced {
    pub(crate) fn new(inner: Body, visit: Visit, last_byte_apart: bool) -> Self {
        visit.theirs();
        Self { inner, rest: Bytes::new(), last_byte_apart, visit, taken: Some(0) }
    }

    fn piece(&mut self) -> Option<Bytes> {
        let piece = match self.rest.len() {
            0 => return None,
            len if len > PIECE_BYTES => self.rest.split_to(PIECE_BYTES),
            len if len > 1 && self.last_byte_apart && self.inner.is_end_stream() => {
                self.rest.split_to(len - 1)
            }
            _ => std::mem::take(&mut self.rest),
        };
        match self.taken {
            Some(taken) if taken.saturating_add(piece.len()) < limit::PACE_BYTES => {
                self.taken = Some(taken.saturating_add(piece.len()));
            }
            _ => {
                self.taken = Some(0);
                self.visit.theirs();
            }
        }
        Some(piece)
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if let Some(piece) = self.piece() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let polled = Pin::new(&mut self.inner).poll_frame(cx);
            if polled.is_pending() && self.taken.take().is_some() {
                self.visit.ours();
            }
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::super::pulse::Pulse;
    use super::*;
    use http_body_util::BodyExt;

    async fn pieces(len: usize, apart: bool) -> Vec<usize> {
        let mut paced = Paced::new(Body::from(vec![7; len]), Pulse::new().visit(), apart);
        assert_eq!(paced.size_hint().exact(), Some(len as u64));
        let mut pieces = Vec::new();
        while let Some(frame) = paced.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap().len());
            let left = paced.size_hint().exact().unwrap() as usize;
            assert_eq!(pieces.iter().sum::<usize>() + left, len, "the hint must follow what is left");
        }
        pieces
    }

    #[tokio::test]
    async fn large_bodies_go_in_pieces_and_the_last_byte_apart() {
        assert_eq!(pieces(40_000, false).await, [16_384, 16_384, 7_232]);
        assert_eq!(pieces(40_000, true).await, [16_384, 16_384, 7_231, 1]);
        assert_eq!(pieces(16_384, true).await, [16_383, 1]);
        assert_eq!(pieces(1, true).await, [1]);
        assert_eq!(pieces(0, true).await, [0_usize; 0]);
    }
}
