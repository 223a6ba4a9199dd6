//! Backups, and documents that are ZIP archives.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mentor_fuzz::archives(input));
