//! A response body in pieces, of which large ones are shared with other responses.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};

/// The pieces in the order in which they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pieces(VecDeque<Bytes>);

/// Smaller bodies are sent as one piece: copying so little costs less than another write.
const JOINED: usize = 16 * 1024;

/// A connection takes this much at a time, so that its write buffer never holds a whole policy.
const SLICE: usize = 64 * 1024;

impl Pieces {
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter()
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(whole: Vec<u8>) -> Self {
        Self::from([whole.into()])
    }
}

impl<const N: usize> From<[Bytes; N]> for Pieces {
    fn from(pieces: [Bytes; N]) -> Self {
        pieces.into_iter().collect()
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        Self(pieces.into_iter().filter(|piece| !piece.is_empty()).collect())
    }
}

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let Some(mut piece) = self.0.pop_front() else {
            return Poll::Ready(None);
        };
        let slice = piece.split_to(piece.len().min(SLICE));
        if !piece.is_empty() {
            self.0.push_front(piece);
        }
        Poll::Ready(Some(Ok(slice)))
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.0.len() {
            0 | 1 if self.len() <= SLICE => Ok(self.0.into_iter().next().unwrap_or_default()),
            _ if self.len() <= JOINED => Ok(self.0.iter().flatten().copied().collect::<Vec<_>>().into()),
            _ => Err(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[actix_rt::test]
    async fn a_large_piece_is_sent_in_slices_of_the_shared_bytes() {
        let shared = Bytes::from(vec![b'x'; 3 * SLICE + 1]);
        let mut body = Pieces::from([
            Bytes::from_static(b"head"),
            shared.clone(),
            Bytes::from_static(b"tail"),
        ]);
        assert_eq!(body.size(), BodySize::Sized(shared.len() as u64 + 8));
        body = body.try_into_bytes().unwrap_err();
        let mut sent = Vec::new();
        while let Some(piece) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
            sent.push(piece.unwrap());
        }
        assert_eq!(
            sent.iter().map(Bytes::len).collect::<Vec<_>>(),
            [4, SLICE, SLICE, SLICE, 1, 4]
        );
        assert_eq!(sent[1].as_ptr(), shared.as_ptr(), "not a copy");
        assert_eq!(sent.concat(), [b"head".as_slice(), &shared, b"tail"].concat());
    }

    #[test]
    fn small_bodies_are_one_piece() {
        let body = Pieces::from([Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"b")]);
        assert_eq!(body.try_into_bytes().unwrap(), "ab");
        assert_eq!(Pieces::default().try_into_bytes().unwrap(), "");
    }
}
