//! libFuzzer's door to [`muniment_fuzz::decoders::actor`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muniment_fuzz::decoders::actor(data));
