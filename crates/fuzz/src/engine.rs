//! libFuzzer's end of the targets: `FUZZ_TARGET` names the one that gets the inputs. Started by `.ci/fuzz`.
#![no_main]

use std::sync::LazyLock;

use fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name} is none of {:?}", fuzz::TARGETS))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.run(input));
