//! Random bytes of the operating system.

use crate::FleetError;

/// Fills `bytes` from the operating system's generator.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), FleetError> {
    getrandom::fill(bytes).map_err(|error| FleetError::NoRandomness {
        source: store::Cause::new(error),
    })
}
