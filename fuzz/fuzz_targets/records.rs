//! A batch of records.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secmon_hub::fuzzing::records(bytes));
