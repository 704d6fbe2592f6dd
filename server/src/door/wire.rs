//! The socket below TLS, watched for writes that get nowhere. hyper has no clock for an answer that is not read.
//! If this is wrong, a client that never reads keeps a connection and its buffers.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chancery_core::limit;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pulse::Pulse;

/// A socket that tells its connection's clocks when it is blocked.
pub(crate) struct Wire {
    socket: TcpStream,
    pulse: Arc<Pulse>,
    /// Bytes taken since the socket was blocked; `None` while it is not.
    taken: Option<usize>,
}

impl Wire {
    pub(crate) fn new(socket: TcpStream, pulse: Arc<Pulse>) -> Self {
        Self { socket, pulse, taken: None }
    }

    fn watch(&mut self, offered: usize, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&result, self.taken) {
            (Poll::Pending, None) => {
                self.taken = Some(0);
                self.pulse.blocked();
            }
            (Poll::Ready(Ok(written)), Some(_)) if *written >= offered => {
                self.taken = None;
                self.pulse.flowing();
            }
            (Poll::Ready(Ok(written)), Some(taken)) => {
                let taken = taken.saturating_add(*written);
                if taken >= limit::PACE_BYTES {
                    self.taken = Some(0);
                    self.pulse.moving();
                } else {
                    self.taken = Some(taken);
                }
            }
            _ => {}
        }
        result
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // A reader that stalled will not take what the kernel still holds: a reset frees it now instead of minutes later.
        if self.pulse.is_reset() {
            let _ = rustix::net::sockopt::set_socket_linger(self.socket.as_fd(), Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watch(buf.len(), result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watch(bufs.iter().map(|buf| buf.len()).sum(), result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
