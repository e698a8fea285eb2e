//! Any DER as a key of each kind, encrypted ones included. The first byte chooses.
#![no_main]

use given::{CERTIFICATE, inline, load, pem};
use libfuzzer_sys::fuzz_target;
use tls_reload::{Passphrase, Secret, Settings};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, der)) = bytes.split_first() else {
        return;
    };
    let labels = [
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
    ];
    let text = pem(labels[usize::from(*choice) % labels.len()], der);
    let mut settings = Settings::single(inline(CERTIFICATE), Some(inline(&text)));
    settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("secret".to_owned())));
    let _judged = load(&settings);
});
