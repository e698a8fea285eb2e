//! Any DER as a leaf, as a further certificate of its chain, and as a client CA.
#![no_main]

use given::{AUTHORITY, CERTIFICATE, KEY, inline, load, pem};
use libfuzzer_sys::fuzz_target;
use tls_reload::Settings;

fuzz_target!(|der: &[u8]| {
    let text = pem("CERTIFICATE", der);
    let mut settings = Settings::single(inline(&text), Some(inline(KEY)));
    let _judged = load(&settings);
    settings = Settings::single(inline(&format!("{CERTIFICATE}{text}")), Some(inline(KEY)));
    settings.client_authorities = vec![inline(AUTHORITY), inline(&text)];
    let _judged = load(&settings);
});
