//! libFuzzer's door to [`muniment_fuzz::verifiers::receipt`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    muniment_fuzz::verifiers::receipt(data);
});
