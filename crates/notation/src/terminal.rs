//! Text that came from anybody, made fit for a terminal, which obeys what it is shown.

use std::{borrow::Cow, fmt::Write as _};

/// The text with its control and direction characters escaped: it may have come from anybody.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len() + 16);
    for found in text.chars() {
        if is_harmful(found) {
            // Writing to a `String` cannot fail.
            let _ = write!(harmless, "{}", found.escape_default());
        } else {
            harmless.push(found);
        }
    }
    Cow::Owned(harmless)
}

/// Whether a terminal could obey it: a control character, or one that changes the order of the text.
pub fn is_harmful(found: char) -> bool {
    found.is_control()
        || matches!(found, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
