//! How long to wait before a call is repeated.

use std::time::Duration;

/// A call is repeated so many times.
pub(crate) const REPEATS: u32 = 5;

/// The wait before repeat `number` (from 0): half a second, half as long again each time, at most ten seconds, spread by
/// half of it up or down. `chance` is a random number from 0 to 1.
pub(crate) fn wait(number: u32, chance: f64) -> Duration {
    let plain = FIRST.mul_f64(1.5_f64.powi(number.min(30).cast_signed()));
    plain.mul_f64(0.5 + chance).min(LONGEST)
}

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_half_spread_by_half_and_end_at_ten_seconds() {
        assert_eq!(wait(0, 0.5), Duration::from_millis(500));
        assert_eq!(wait(0, 0.0), Duration::from_millis(250));
        assert_eq!(wait(2, 0.5), Duration::from_millis(1125));
        assert_eq!(wait(1, 1.0), Duration::from_millis(1125));
        assert_eq!(wait(u32::MAX, 0.5), LONGEST);
    }
}
