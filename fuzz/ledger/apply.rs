//! libFuzzer's door to [`muniment_fuzz_ledger::apply`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    muniment_fuzz_ledger::apply(data);
});
