//! Frames and fragments of all conversations, in both directions, and all that a client prints of events. The first
//! byte says which.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secmon_hub::fuzzing::frames(bytes));
