//! libFuzzer's door to [`muniment_fuzz::decoders::record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muniment_fuzz::decoders::record(data));
