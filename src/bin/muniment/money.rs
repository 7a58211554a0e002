//! Amounts as people write them, and as the protocol has them.
//!
//! Promises: exact (no floating point); an amount that the currency cannot express is
//! refused, never rounded. Leaves the list of currencies to the library.

use muniment::domain::currency;
use muniment_client::v1::Money;

/// More digits than any i64 has.
const DIGITS_MAX: usize = 19;

/// Reads `12.34` in a currency.
pub fn parse(amount: &str, currency: &str) -> Result<Money, String> {
    if currency.len() != 3 || !currency.bytes().all(|c| c.is_ascii_uppercase()) {
        return Err(format!(
            "{currency:?} is not a currency of three capital letters (ISO 4217)"
        ));
    }
    let exponent = exponent(currency);
    let wrong = || format!("{amount:?} is not an amount such as 12.34");
    let (negative, digits) = match amount.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, amount),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(wrong()),
        None => (digits, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(wrong());
    }
    if fraction.len() > exponent as usize {
        return Err(format!(
            "{amount:?} has more than {exponent} decimals, {currency} has not"
        ));
    }
    if whole.len() > DIGITS_MAX {
        return Err(format!("{amount:?} is too large"));
    }
    let padded = format!("{whole}{fraction:0<width$}", width = exponent as usize);
    let units: i64 = padded
        .parse()
        .map_err(|_| format!("{amount:?} is too large"))?;
    Ok(Money {
        minor_units: if negative { -units } else { units },
        currency: currency.to_owned(),
        exponent,
    })
}

/// `12.34 EUR`.
pub fn text(money: &Money) -> String {
    let sign = if money.minor_units < 0 { "-" } else { "" };
    let digits = money.minor_units.unsigned_abs().to_string();
    // What the server says is not trusted to be small.
    let exponent = money.exponent.min(DIGITS_MAX as u32) as usize;
    let digits = format!("{digits:0>width$}", width = exponent + 1);
    let (whole, fraction) = digits.split_at(digits.len() - exponent);
    let point = if exponent == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} {}", money.currency)
}

/// Of a currency without a minor unit, hundredths.
fn exponent(currency: &str) -> u32 {
    u32::from(currency::exponent(currency).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_back_exactly() {
        for (amount, currency, units, back) in [
            ("12.34", "CNY", 1234, "12.34 CNY"),
            ("12.3", "EUR", 1230, "12.30 EUR"),
            ("-0.05", "EUR", -5, "-0.05 EUR"),
            ("500", "JPY", 500, "500 JPY"),
            ("1.005", "KWD", 1005, "1.005 KWD"),
        ] {
            let money = parse(amount, currency).unwrap();
            assert_eq!(money.minor_units, units);
            assert_eq!(text(&money), back);
        }
    }

    #[test]
    fn nothing_is_rounded_or_guessed() {
        for (amount, currency) in [
            ("1.234", "EUR"),
            ("1.5", "JPY"),
            ("1,5", "EUR"),
            (".5", "EUR"),
            ("1.", "EUR"),
            ("", "EUR"),
            ("--1", "EUR"),
            ("1e3", "EUR"),
            ("99999999999999999999", "EUR"),
            ("1", "eur"),
            ("1", ""),
        ] {
            assert!(parse(amount, currency).is_err(), "{amount} {currency}");
        }
    }
}
