//! What a client sends to a hub, from its Hello on.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secmon_hub::fuzzing::client(bytes));
