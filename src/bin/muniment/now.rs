//! The command line's own day and randomness, from the one reader of both.

use muniment::clock::{Clock as _, SystemClock};

/// Today in UTC, as YYYY-MM-DD: what an issue date is when none is given.
pub fn today() -> String {
    let seconds = SystemClock.now_ms() / 1000;
    let now = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let format = time::macros::format_description!("[year]-[month]-[day]");
    now.date()
        .format(format)
        .expect("a date has a year, a month and a day")
}

/// Milliseconds since 1970.
pub fn ms() -> u64 {
    SystemClock.now_ms()
}

/// Seconds since 1970.
pub fn seconds() -> u64 {
    SystemClock.now_ms() / 1000
}

/// For jitter and for the names of a benchmark's invoices; nothing secret hangs on it.
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    SystemClock.random(&mut bytes);
    u64::from_be_bytes(bytes)
}
