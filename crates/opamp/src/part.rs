//! Reads one part of a message, if its size is within bounds.

use bytes::Bytes;
use prost::{DecodeError, Message};

/// Why a part was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum PartError {
    #[error("it has more than {most} bytes")]
    TooLarge { most: usize },
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// The message in `part`, which may have `most` bytes.
pub fn read<M: Message + Default>(part: Bytes, most: usize) -> Result<M, PartError> {
    if part.len() > most {
        return Err(PartError::TooLarge { most });
    }
    Ok(M::decode(part)?)
}
