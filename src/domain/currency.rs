//! Minor units of currencies, as ISO 4217 has them.
//!
//! Promises one table for who reads amounts and who takes them in, so that the same digits
//! are the same sum. A code that is not in the table has hundredths, like most; one without a
//! minor unit (metals, funds, tests) may have any. Leaves which currencies exist to callers.

/// Currencies whose minor unit is not a hundredth (ISO 4217, 2026).
const EXPONENTS: [(&[&str], u8); 3] = [
    (
        &[
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI",
            "VND", "VUV", "XAF", "XOF", "XPF",
        ],
        0,
    ),
    (&["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    (&["CLF", "UYW"], 4),
];

/// Codes to which the standard gives no minor unit.
const WITHOUT: [&str; 12] = [
    "XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA",
];

/// Decimal digits of the minor unit; none where the standard has no such unit.
pub fn exponent(currency: &str) -> Option<u8> {
    if WITHOUT.contains(&currency) {
        return None;
    }
    let mut groups = EXPONENTS.iter();
    let group = groups.find(|(codes, _)| codes.contains(&currency));
    Some(group.map_or(2, |(_, exponent)| *exponent))
}
