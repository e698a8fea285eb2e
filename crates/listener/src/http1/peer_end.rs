//! Notices that a client has closed while bytes of it lie unread in the kernel.
//!
//! A read would find the end only behind those bytes. So the socket is watched through a second descriptor: its
//! readiness says that the peer's side is closed, whatever is unread, and may be cleared without anybody missing it.

use std::{
    io,
    os::fd::AsFd as _,
    task::{Context, Poll, ready},
};

use futures_util::FutureExt as _;
use tokio::{io::Interest, net::TcpStream};

pub(super) struct PeerEnd {
    socket: TcpStream,
}

impl PeerEnd {
    pub(super) fn of(socket: &TcpStream) -> io::Result<Self> {
        let second = socket.as_fd().try_clone_to_owned()?;
        Ok(Self {
            socket: TcpStream::from_std(second.into())?,
        })
    }

    /// Resolves when the peer has closed its side, or the connection is broken.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // An error means that the runtime ends, and everything with it.
            if ready!(self.socket.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match self.socket.ready(Interest::READABLE).now_or_never() {
                Some(Ok(ready)) if !ready.is_read_closed() => {}
                Some(_) => return Poll::Ready(()),
                // The task's budget is used up; it is polled again.
                None => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            // More bytes: only the next change of the socket is of interest.
            let _cleared = self.socket.try_io(Interest::READABLE, || {
                Err::<(), _>(io::ErrorKind::WouldBlock.into())
            });
        }
    }
}
