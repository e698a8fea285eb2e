//! HTTP/2 written by hand: frames that no library would send. [`Connection::send_raw`](crate::Connection::send_raw)
//! takes them, on a connection of a client that offers `h2` by ALPN.

/// Kinds and flags, as RFC 9113 6 numbers them.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// One frame, whatever is in it.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("a payload").to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// How a client begins: the preface and its settings (identifier, value).
pub fn opening(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
        .collect();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(kind::SETTINGS, 0, 0, &payload)[..],
    ]
    .concat()
}

/// The head of a request as HPACK: entries of the static table, and literals that nobody remembers.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    // :method GET or POST, :scheme https.
    let mut block = vec![if method == "GET" { 0x82 } else { 0x83 }, 0x87];
    // :path and :authority by their places in the static table.
    block.push(0x04);
    literal(&mut block, path);
    block.push(0x01);
    literal(&mut block, "localhost");
    for (name, value) in headers {
        block.push(0x00);
        literal(&mut block, &name.to_ascii_lowercase());
        literal(&mut block, value);
    }
    block
}

/// A string with its length (RFC 7541 5.2), not Huffman coded.
fn literal(block: &mut Vec<u8>, text: &str) {
    const MOST: usize = 127;
    let mut length = text.len();
    if length < MOST {
        block.push(u8::try_from(length).expect("below 127"));
    } else {
        block.push(127);
        length -= MOST;
        while length >= 128 {
            block.push(u8::try_from(length % 128 + 128).expect("a byte"));
            length /= 128;
        }
        block.push(u8::try_from(length).expect("below 128"));
    }
    block.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_long_literals_have_their_lengths() {
        assert_eq!(
            frame(kind::PING, 0, 7, &[1; 8])[..10],
            [0, 0, 8, 6, 0, 0, 0, 0, 7, 1]
        );
        let mut block = Vec::new();
        literal(&mut block, &"x".repeat(1337));
        // 1337 = 127 + 10 + 9 × 128
        assert_eq!(block[..4], [127, 128 + 58, 9, b'x']);
        assert_eq!(block.len(), 3 + 1337);
    }
}
