//! Policies as gzip carries them, each compressed once for all agents that get it.
//!
//! In: a reply in pieces, one of which is a policy that others get too. Out: one gzip member around the policy's
//! deflated blocks, which are shared like the policy. Never compresses for one agent alone.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use actix_web::web::Bytes;
use flate2::{Compression, Crc, write::DeflateEncoder};
use fleet::RenderedPolicy;
use tokio::sync::OnceCell;

use crate::{compression::ResponseCompression, off_the_loop::off_the_loop_if_large, pieces::Pieces};

/// The deflated policies of one listener; one whose revision nobody hands out any more goes with the next new one.
#[derive(Default)]
pub(super) struct DeflatedPolicies {
    /// By the policy's address, which the weak reference keeps from being used again.
    known: Mutex<HashMap<usize, Known>>,
}

struct Known {
    policy: Weak<RenderedPolicy>,
    deflated: Arc<OnceCell<Deflated>>,
}

impl DeflatedPolicies {
    /// The reply that carries the policy, compressed; as it was if the server is stopping.
    pub(super) async fn gzip(
        &self,
        compression: ResponseCompression,
        policy: &Arc<RenderedPolicy>,
        body: Pieces,
    ) -> (Pieces, bool) {
        let cell = self.cell(policy);
        // Those who come meanwhile wait for the one that compresses.
        let deflated = cell.get_or_try_init(|| async {
            let text = policy.json().clone();
            let deflate = move || Deflated::new(compression.level, &text);
            let deflated = off_the_loop_if_large(policy.json().len(), deflate).await;
            deflated.map_err(io::Error::other).flatten()
        });
        match deflated.await {
            Ok(deflated) => (member(&body, policy.json(), deflated), true),
            // Writing to memory does not fail, so the server is stopping; the plain body is as good an answer.
            Err(_) => (body, false),
        }
    }

    fn cell(&self, policy: &Arc<RenderedPolicy>) -> Arc<OnceCell<Deflated>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let address = Arc::as_ptr(policy).addr();
        if !known.contains_key(&address) {
            known.retain(|_, known| known.policy.strong_count() > 0);
        }
        let entry = known.entry(address).or_insert_with(|| Known {
            policy: Arc::downgrade(policy),
            deflated: Arc::default(),
        });
        Arc::clone(&entry.deflated)
    }
}

/// Text as deflate blocks that end on a whole byte and refer to nothing before them: they fit into any stream.
struct Deflated {
    blocks: Bytes,
    crc: Crc,
}

impl Deflated {
    fn new(level: u32, text: &[u8]) -> io::Result<Self> {
        let mut crc = Crc::new();
        crc.update(text);
        let room = Vec::with_capacity(text.len() / 4);
        let mut encoder = DeflateEncoder::new(room, Compression::new(level.min(9)));
        encoder.write_all(text)?;
        encoder.flush()?;
        let blocks = std::mem::take(encoder.get_mut());
        Ok(Self {
            blocks: blocks.into_boxed_slice().into(),
            crc,
        })
    }
}

/// One gzip member (RFC 1952) of all pieces: `shared` in its deflated form, the others, which are short, as stored
/// blocks (RFC 1951 3.2.4).
fn member(body: &Pieces, shared: &Bytes, deflated: &Deflated) -> Pieces {
    let mut crc = Crc::new();
    let mut out = vec![Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])];
    for piece in body.iter() {
        if piece.as_ptr() == shared.as_ptr() {
            crc.combine(&deflated.crc);
            out.push(deflated.blocks.clone());
        } else {
            crc.update(piece);
            out.push(stored(piece).into());
        }
    }
    // An empty last block.
    let mut end = vec![3, 0];
    end.extend(crc.sum().to_le_bytes());
    end.extend(crc.amount().to_le_bytes());
    out.push(end.into());
    out.into_iter().collect()
}

fn stored(text: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(text.len() + 5);
    for (part, length) in text
        .chunks(usize::from(u16::MAX))
        .map(|part| (part, part.len() as u16))
    {
        blocks.push(0);
        blocks.extend(length.to_le_bytes());
        blocks.extend((!length).to_le_bytes());
        blocks.extend(part);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn gunzip(body: &Pieces) -> Vec<u8> {
        let packed: Vec<u8> = body.iter().flatten().copied().collect();
        let mut text = Vec::new();
        let mut decoder = GzDecoder::new(packed.as_slice());
        decoder.read_to_end(&mut text).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member, nothing behind it");
        text
    }

    #[test]
    fn the_deflated_blocks_are_shared_and_long_ends_survive() {
        let shared = Bytes::from("policy ".repeat(20_000));
        let deflated = Deflated::new(1, &shared).unwrap();
        assert!(deflated.blocks.len() < shared.len() / 10);
        let before = Bytes::from(vec![b'b'; 70_000]);
        let body = Pieces::from([before.clone(), shared.clone(), Bytes::from_static(b"end")]);
        let packed = member(&body, &shared, &deflated);
        assert_eq!(gunzip(&packed), [&before[..], &shared, b"end"].concat());
        assert!(
            packed
                .iter()
                .any(|piece| piece.as_ptr() == deflated.blocks.as_ptr())
        );
    }

    proptest! {
        #[test]
        fn any_pieces_come_back(
            before in proptest::collection::vec(any::<u8>(), 0..300),
            shared in proptest::collection::vec(any::<u8>(), 1..3000),
            after in proptest::collection::vec(any::<u8>(), 0..300),
            level in 1u32..12,
        ) {
            let whole = [&before[..], &shared, &after].concat();
            let shared = Bytes::from(shared);
            let deflated = Deflated::new(level, &shared).unwrap();
            let body = Pieces::from([before.into(), shared.clone(), after.into()]);
            prop_assert_eq!(gunzip(&member(&body, &shared, &deflated)), whole);
        }
    }
}
