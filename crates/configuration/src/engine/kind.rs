//! The type of a key that has no field: what it takes, without a place to put it.

use config::Value;

use super::setting::{Refusal, Setting, Shape};

/// The type of a key's value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) shape: Shape,
    pub(crate) check: fn(&Value) -> Result<(), Refusal>,
    pub(crate) allowed: fn() -> String,
    pub(crate) is_secret: bool,
}

impl Kind {
    pub(crate) const fn of<T: Setting>() -> Self {
        Self {
            shape: T::SHAPE,
            check: |value| T::from_value(value).map(drop),
            allowed: T::allowed,
            is_secret: T::IS_SECRET,
        }
    }
}
