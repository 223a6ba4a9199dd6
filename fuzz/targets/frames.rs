//! What a WebSocket's client sends.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mentor_fuzz::frames(input));
