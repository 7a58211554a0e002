//! The command line's own day and randomness.
//!
//! Promises: no other file of the command line asks the machine for them. Leaves time and
//! randomness of a node to `clock`.

/// Today in UTC, as YYYY-MM-DD: what an issue date is when none is given.
pub fn today() -> String {
    let date = time::OffsetDateTime::now_utc().date();
    let format = time::macros::format_description!("[year]-[month]-[day]");
    date.format(format)
        .expect("a date has a year, a month and a day")
}

/// For jitter and for the names of a benchmark's invoices; nothing secret hangs on it.
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_be_bytes(bytes),
        // Good enough to spread waits; a benchmark says which numbers it used.
        Err(_) => u64::from(std::process::id()),
    }
}
