//! libFuzzer's door to [`muniment_fuzz::trees::tree`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muniment_fuzz::trees::tree(data));
