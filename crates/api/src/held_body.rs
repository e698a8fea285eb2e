//! A body that holds something until it has been sent or dropped: room, a place, a count.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};

#[derive(Debug)]
pub(crate) struct HeldBody<B, H> {
    body: B,
    held: H,
}

impl<B, H> HeldBody<B, H> {
    pub(crate) const fn new(body: B, held: H) -> Self {
        Self { body, held }
    }
}

impl<B: MessageBody + Unpin, H: Unpin> MessageBody for HeldBody<B, H> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(cx)
    }

    /// A small body goes with its head in one write, which leaves nothing to hold anything for.
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, held } = self;
        body.try_into_bytes().map_err(|body| Self { body, held })
    }
}
