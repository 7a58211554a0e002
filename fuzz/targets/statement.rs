//! libFuzzer's door to [`muniment_fuzz::decoders::statement`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muniment_fuzz::decoders::statement(data));
