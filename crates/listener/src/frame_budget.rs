//! Ends an HTTP/2 connection whose client sends frames that carry nothing.
//!
//! A frame without payload costs its sender nothing, no flow control holds it back, and each is parsed, queued or
//! answered here. So frames are counted as they are read, below the `h2` crate, which shows none of them: more than
//! [`FRAMES`] in [`WINDOW`] that neither bring nor fetch bytes in proportion are an error of the connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// A stream whose incoming frames are counted.
pub(crate) struct FrameBudget<T> {
    io: T,
    frames: Frames,
}

impl<T> FrameBudget<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io,
            frames: Frames::new(Instant::now()),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FrameBudget<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let bytes = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(this.frames.read(bytes, Instant::now()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FrameBudget<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        this.frames.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, slices))?;
        this.frames.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// The parser's state in the stream of frames, and the cost in the current window.
struct Frames {
    /// Bytes to pass over: the preface at first, then the payload of the frame that was counted last.
    skip: usize,
    header: [u8; HEADER],
    /// Bytes of the next frame's header that have been read.
    seen: usize,
    cost: usize,
    window_began: Instant,
    /// Bytes written that have not offset a frame yet.
    written: usize,
}

impl Frames {
    fn new(now: Instant) -> Self {
        Self {
            skip: PREFACE,
            header: [0; HEADER],
            seen: 0,
            cost: 0,
            window_began: now,
            written: 0,
        }
    }

    fn read(&mut self, mut bytes: &[u8], now: Instant) -> io::Result<()> {
        if now.saturating_duration_since(self.window_began) >= WINDOW {
            self.window_began = now;
            self.cost = 0;
        }
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            if let Some(place) = self.header.get_mut(self.seen) {
                *place = *byte;
            }
            self.seen += 1;
            if self.seen == HEADER {
                self.seen = 0;
                self.count();
            }
        }
        if self.cost > FRAMES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client floods the connection with frames that carry nothing",
            ));
        }
        Ok(())
    }

    /// Counts the frame whose header is complete.
    fn count(&mut self) {
        let [high, middle, low, kind, ..] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = length;
        let worth = if kind == DATA { length / BYTES_IN } else { 0 };
        self.cost = (self.cost + 1).saturating_sub(worth);
    }

    /// Bytes of answers offset the frames by which the client requested them.
    fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        self.cost = self.cost.saturating_sub(self.written / BYTES_OUT);
        self.written %= BYTES_OUT;
    }
}

/// Frames without payload that a client may send in one window.
const FRAMES: usize = 1000;
const WINDOW: Duration = Duration::from_secs(10);

/// A DATA frame of this size costs nothing, and a larger one offsets others.
const BYTES_IN: usize = 256;
/// Bytes of answers that offset one frame: a request of two frames has an answer of more than twice as many.
const BYTES_OUT: usize = 32;

const PREFACE: usize = 24;
const HEADER: usize = 9;
const DATA: u8 = 0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 1];
        frame.resize(HEADER + length, 0xff);
        frame
    }

    fn after_preface(now: Instant) -> Frames {
        let mut frames = Frames::new(now);
        frames.read(&[b'P'; PREFACE], now).unwrap();
        frames
    }

    #[test]
    fn frames_that_carry_nothing_end_the_connection_at_the_bound() {
        let start = Instant::now();
        for kind in [DATA, 2, 3, 4, 6, 8, 9] {
            let mut frames = after_preface(start);
            let length = usize::from(kind != DATA) * 8;
            for _ in 0..FRAMES {
                frames.read(&frame(kind, length), start).unwrap();
            }
            assert!(frames.read(&frame(kind, length), start).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_new_window_begins_at_zero() {
        let start = Instant::now();
        let mut frames = after_preface(start);
        let pings = frame(6, 8).repeat(FRAMES);
        for window in 0..5 {
            frames.read(&pings, start + WINDOW * window).unwrap();
        }
    }

    #[test]
    fn uploads_and_downloads_pay_for_their_frames() {
        let start = Instant::now();
        let mut frames = after_preface(start);
        for _ in 0..10 * FRAMES {
            frames.read(&frame(DATA, 4096), start).unwrap();
            // A client that reads an answer gives its window back frame by frame.
            frames.wrote(1024);
            frames.read(&frame(8, 4), start).unwrap();
            frames.read(&frame(8, 4), start).unwrap();
        }
    }

    proptest! {
        /// However the bytes are cut, the same frames are counted.
        #[test]
        fn the_cut_of_the_bytes_does_not_matter(
            sent in prop::collection::vec((0_u8..10, 0_usize..300), 1..60),
            piece in 1_usize..50,
        ) {
            let start = Instant::now();
            let bytes: Vec<u8> = sent.iter().flat_map(|(kind, length)| frame(*kind, *length)).collect();
            let mut whole = after_preface(start);
            whole.read(&bytes, start).unwrap();
            let mut cut = after_preface(start);
            for piece in bytes.chunks(piece) {
                cut.read(piece, start).unwrap();
            }
            prop_assert_eq!((whole.cost, whole.skip, whole.seen), (cut.cost, cut.skip, cut.seen));
            prop_assert_eq!((whole.skip, whole.seen), (0, 0));
        }
    }
}
