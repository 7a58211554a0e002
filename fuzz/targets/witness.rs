//! libFuzzer's door to [`muniment_fuzz::texts::witness`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muniment_fuzz::texts::witness(data));
