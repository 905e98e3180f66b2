//! What a node sends that joins, up to the signature under its request.
#![no_main]

use std::sync::LazyLock;

use secmon_hub::fuzzing::{Authority, join};

static CA: LazyLock<Authority> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Authority::new(folder.path()).expect("a CA")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| join(bytes, &CA));
