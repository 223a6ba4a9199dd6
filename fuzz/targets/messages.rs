//! JSON of questions, searches and chats.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mentor_fuzz::messages(input));
