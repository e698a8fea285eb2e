//! Any bytes as a revocation list.
#![no_main]

use given::{AUTHORITY, CERTIFICATE, KEY, file, inline, load};
use libfuzzer_sys::fuzz_target;
use tls_reload::Settings;

fuzz_target!(|bytes: &[u8]| {
    let mut settings = Settings::single(inline(CERTIFICATE), Some(inline(KEY)));
    settings.client_authorities = vec![inline(AUTHORITY)];
    settings.revocation_lists = vec![file(bytes)];
    let _judged = load(&settings);
});
