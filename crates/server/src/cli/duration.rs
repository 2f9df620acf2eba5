//! Durations on the command line.

use std::time::Duration;

/// Parses a whole number with a unit: `500ms`, `2s`, `15m`, `8h`, `30d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| "expected a number and a unit, as in 2s".to_owned())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(60 * 60),
        "d" => number.checked_mul(24 * 60 * 60),
        _ => return Err("expected one of the units ms, s, m, h, d".to_owned()),
    };
    seconds.map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("0s", 0),
            ("2s", 2_000),
            ("15m", 900_000),
            ("8h", 28_800_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "s", "2", "2 s", "-2s", "1.5s", "2w", "2S", "99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("18446744073709551615d"), Err("too long".to_owned()));
    }
}
