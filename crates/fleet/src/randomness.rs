//! Random bytes of the operating system.

use crate::FleetError;

/// Fills `bytes`.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), FleetError> {
    getrandom::fill(bytes).map_err(|error| FleetError::NoRandomness {
        reason: error.to_string(),
    })
}
