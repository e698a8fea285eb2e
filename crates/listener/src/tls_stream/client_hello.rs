//! When a ClientHello is whole. What it says, and whether it is one, is rustls's business.

/// Follows the records of a client's first message.
#[derive(Default)]
pub(super) struct ClientHello {
    /// Where the next record begins.
    at: usize,
    /// The first bytes of the message: its kind and three bytes of length.
    head: [u8; 4],
    /// Bytes of the message in the records before.
    bytes: usize,
}

impl ClientHello {
    /// Whether `raw`, all that has come so far, holds the whole message, or something that rustls will refuse.
    pub(super) fn is_whole(&mut self, raw: &[u8]) -> bool {
        loop {
            let rest = raw.get(self.at..).unwrap_or_default();
            let &[kind, _, _, high, low, ref rest @ ..] = rest else {
                return rest.first().is_some_and(|kind| *kind != HANDSHAKE);
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if kind != HANDSHAKE || length == 0 || length > LONGEST_RECORD {
                return true;
            }
            let Some(payload) = rest.get(..length) else {
                return false;
            };
            for (place, byte) in self.head.iter_mut().skip(self.bytes).zip(payload) {
                *place = *byte;
            }
            self.at += HEADER + length;
            self.bytes += length;
            let [kind, length @ ..] = self.head;
            let message = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            if self.bytes >= self.head.len()
                && (kind != CLIENT_HELLO || self.bytes >= self.head.len() + message)
            {
                return true;
            }
        }
    }
}

/// Bytes before a record's payload.
const HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Of a record that is not encrypted (RFC 8446, 5.1).
const LONGEST_RECORD: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hello of that many bytes, in records of these lengths (the last one takes the rest).
    fn hello(bytes: usize, records: &[usize]) -> Vec<u8> {
        let length = u32::try_from(bytes).unwrap().to_be_bytes();
        let mut message = vec![CLIENT_HELLO];
        message.extend_from_slice(&length[1..]);
        message.resize(4 + bytes, 7);
        let mut raw = Vec::new();
        for most in records.iter().copied().chain(std::iter::repeat(LONGEST_RECORD)) {
            if message.is_empty() {
                return raw;
            }
            let payload: Vec<u8> = message.drain(..most.min(message.len())).collect();
            raw.extend_from_slice(&[HANDSHAKE, 3, 1]);
            raw.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
            raw.extend_from_slice(&payload);
        }
        raw
    }

    proptest! {
        #[test]
        fn it_is_whole_with_its_last_byte_and_not_before(
            bytes in 0_usize..70_000,
            records in proptest::collection::vec(1_usize..40, 0..40),
            step in 1_usize..5000,
        ) {
            let raw = hello(bytes, &records);
            let mut seen = ClientHello::default();
            for come in (0..raw.len()).step_by(step) {
                prop_assert!(!seen.is_whole(&raw[..come]), "{come} of {}", raw.len());
            }
            prop_assert!(seen.is_whole(&raw));
        }

        #[test]
        fn any_bytes_are_taken(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut seen = ClientHello::default();
            let (before, whole) = raw.split_at(raw.len() / 2);
            let _as_it_may = (seen.is_whole(before), seen.is_whole(&raw), whole);
        }
    }

    #[test]
    fn what_is_no_hello_is_given_to_rustls_at_once() {
        for raw in [
            &b"G"[..],
            b"GET / HTTP/1.1\r\n",
            b"\x15\x03\x03\x00\x02\x02\x28",
            b"\x16\x03\x01\x00\x00",
        ] {
            assert!(ClientHello::default().is_whole(raw), "{raw:?}");
        }
        let mut other = hello(100, &[]);
        other[HEADER] = 2;
        assert!(ClientHello::default().is_whole(&other));
    }
}
