//! The frames of a WebSocket that a client sends, put together to messages.
//!
//! In: bytes as they arrive. Out: whole messages and control frames, or the code with which to close. A frame's length is
//! judged before its bytes are waited for, so no announcement takes memory; knows nothing of OpAMP.

use actix_http::ws::{CloseCode, Codec, Frame, Item, ProtocolError};
use actix_web::web::{Bytes, BytesMut};
use tokio_util::codec::Decoder as _;

pub(super) struct Frames {
    codec: Codec,
    /// What has arrived and is no whole frame yet.
    input: BytesMut,
    /// The frames of a message whose last one has not arrived.
    fragments: BytesMut,
    is_fragmented: bool,
    /// Most bytes of a message.
    most: usize,
}

/// Something that is there as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Message(Bytes),
    Ping(Bytes),
    Pong,
    Close,
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
}

impl Frames {
    pub(super) fn new(most: usize) -> Self {
        Self {
            codec: Codec::new().max_size(most),
            input: BytesMut::new(),
            fragments: BytesMut::new(),
            is_fragmented: false,
            most,
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.input.len() + self.fragments.len()
    }

    /// Whether a message or a frame is on its way.
    pub(super) fn is_within(&self) -> bool {
        self.is_fragmented || !self.input.is_empty()
    }

    /// The next thing that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Arrived>, Broken> {
        loop {
            match self.frame()? {
                None => return Ok(None),
                Some(Frame::Binary(message)) => return Ok(Some(Arrived::Message(message))),
                Some(Frame::Continuation(Item::FirstBinary(part) | Item::Continue(part))) => {
                    self.is_fragmented = true;
                    self.fragments.extend_from_slice(&part);
                }
                Some(Frame::Continuation(Item::Last(part))) => {
                    self.is_fragmented = false;
                    let mut message = std::mem::take(&mut self.fragments);
                    message.extend_from_slice(&part);
                    return Ok(Some(Arrived::Message(message.freeze())));
                }
                Some(Frame::Text(_) | Frame::Continuation(Item::FirstText(_))) => {
                    return Err(Broken {
                        code: CloseCode::Unsupported,
                        reason: "OpAMP is binary",
                    });
                }
                Some(Frame::Ping(said)) => return Ok(Some(Arrived::Ping(said))),
                Some(Frame::Pong(_)) => return Ok(Some(Arrived::Pong)),
                Some(Frame::Close(_)) => return Ok(Some(Arrived::Close)),
            }
        }
    }

    fn frame(&mut self) -> Result<Option<Frame>, Broken> {
        let Some(announced) = Announced::of(&self.input) else {
            return Ok(None);
        };
        let room = match announced.is_control {
            true => CONTROL,
            false => self.most.saturating_sub(self.fragments.len()) as u64,
        };
        if announced.payload > room && announced.is_control {
            return Err(NO_FRAME);
        }
        if announced.payload > room {
            return Err(Broken {
                code: CloseCode::Size,
                reason: "the message is too large",
            });
        }
        // Only whole frames: the codec makes room for what is announced.
        if (self.input.len() as u64) < announced.payload + announced.head {
            return Ok(None);
        }
        let frame = self.codec.decode(&mut self.input).map_err(|error| match error {
            ProtocolError::Overflow => Broken {
                code: CloseCode::Size,
                reason: "the message is too large",
            },
            _ => NO_FRAME,
        })?;
        if self.input.is_empty() {
            // The buffer of a large message is not kept.
            self.input = BytesMut::new();
        }
        Ok(frame)
    }
}

/// What the first bytes of a frame say, whether they are right or not.
struct Announced {
    is_control: bool,
    /// Bytes before the payload.
    head: u64,
    payload: u64,
}

impl Announced {
    /// `None` if more bytes are needed.
    fn of(input: &[u8]) -> Option<Self> {
        let (first, second) = (*input.first()?, *input.get(1)?);
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (head, payload) = match second & 0x7f {
            126 => (4, u16::from_be_bytes(input.get(2..4)?.try_into().ok()?).into()),
            127 => (10, u64::from_be_bytes(input.get(2..10)?.try_into().ok()?)),
            length => (2, length.into()),
        };
        Some(Self {
            is_control: first & 0x08 != 0,
            head: head + mask,
            payload,
        })
    }
}

const NO_FRAME: Broken = Broken {
    code: CloseCode::Protocol,
    reason: "this is no WebSocket frame",
};

/// Most bytes that a control frame carries (RFC 6455 5.5).
const CONTROL: u64 = 125;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 300;

    /// A frame with a mask of zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    fn all(bytes: &[u8]) -> Result<Vec<Arrived>, Broken> {
        let mut frames = Frames::new(MOST);
        let mut arrived = Vec::new();
        for byte in bytes {
            frames.add(&[*byte]);
            while let Some(next) = frames.next()? {
                arrived.push(next);
            }
        }
        Ok(arrived)
    }

    #[test]
    fn fragments_become_one_message_and_control_frames_come_between_them() {
        let bytes = [
            frame(0x02, b"a"),
            frame(0x89, b"there?"),
            frame(0x00, b"b"),
            frame(0x8a, b""),
            frame(0x80, b"c"),
            frame(0x82, b"d"),
            frame(0x88, &[0x03, 0xe8]),
        ];
        let expected = [
            Arrived::Ping("there?".into()),
            Arrived::Pong,
            Arrived::Message("abc".into()),
            Arrived::Message("d".into()),
            Arrived::Close,
        ];
        assert_eq!(all(&bytes.concat()).unwrap(), expected);
        let mut frames = Frames::new(MOST);
        assert!(!frames.is_within());
        frames.add(&bytes[0]);
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.is_within(), "its message has not ended");
    }

    #[test]
    fn what_is_too_large_is_refused_by_its_announcement() {
        let mut announced = vec![0x82, 0xff];
        announced.extend((1_u64 << 40).to_be_bytes());
        let in_parts = [frame(0x02, &[0; 200]), vec![0x80, 0x80 | 101]].concat();
        for bytes in [announced, vec![0x82, 0x80 | 126, 1, 45], in_parts] {
            let mut frames = Frames::new(MOST);
            frames.add(&bytes);
            assert_eq!(frames.next().unwrap_err().code, CloseCode::Size, "{bytes:?}");
        }
        assert_eq!(all(&frame(0x82, &[1; MOST])).unwrap().len(), 1);
    }

    #[test]
    fn what_breaks_the_protocol_is_told_apart() {
        for (bytes, code) in [
            (frame(0x81, b"text"), CloseCode::Unsupported),
            (frame(0x01, b"text"), CloseCode::Unsupported),
            // No mask; a reserved bit; an unknown opcode.
            (vec![0x82, 1, 0], CloseCode::Protocol),
            (frame(0xc2, b""), CloseCode::Protocol),
            (frame(0x83, b""), CloseCode::Protocol),
            // The end of nothing; a message within another; a control frame in parts, a long one.
            (frame(0x80, b""), CloseCode::Protocol),
            (
                [frame(0x02, b"a"), frame(0x82, b"b")].concat(),
                CloseCode::Protocol,
            ),
            (frame(0x09, b""), CloseCode::Protocol),
            (frame(0x89, &[0; 126]), CloseCode::Protocol),
        ] {
            assert_eq!(all(&bytes).unwrap_err().code, code, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_come_to_the_same(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        ) {
            let whole = all(&pieces.concat());
            let mut frames = Frames::new(MOST);
            let mut arrived = Vec::new();
            let outcome = (|| {
                for piece in &pieces {
                    frames.add(piece);
                    while let Some(next) = frames.next()? {
                        arrived.push(next);
                    }
                }
                Ok(arrived)
            })();
            prop_assert_eq!(outcome, whole);
        }
    }
}
