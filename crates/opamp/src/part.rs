//! Reads one part of a message, if its size is within bounds.

use bytes::Bytes;
use prost::{DecodeError, Message};

/// Why a part was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// It was not even looked at.
    #[error("it has more than {most} bytes")]
    TooLarge {
        /// The bound.
        most: usize,
    },
    /// It is not the message that belongs there.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// The message in `part`, which may have `most` bytes.
///
/// # Errors
/// [`PartError`].
pub fn read<M: Message + Default>(part: Bytes, most: usize) -> Result<M, PartError> {
    if part.len() > most {
        return Err(PartError::TooLarge { most });
    }
    Ok(M::decode(part)?)
}
