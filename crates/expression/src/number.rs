//! Numbers as GitHub reads and writes them.

/// Returns the number that a text is; NaN where it is none. A blank text is 0.
pub(crate) fn parse(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() {
        return 0.0;
    }
    if text == "Infinity" {
        return f64::INFINITY;
    }
    if text == "-Infinity" {
        return f64::NEG_INFINITY;
    }
    let of_32_bits = |digits: &str, radix| {
        let is_plain = digits.chars().all(|c| c.is_digit(radix));
        match u32::from_str_radix(digits, radix) {
            // As a signed number: `0xffffffff` is -1.
            Ok(number) if is_plain => f64::from(number.cast_signed()),
            _ => f64::NAN,
        }
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return of_32_bits(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return of_32_bits(digits, 8);
    }
    // Rust also knows words.
    let is_decimal = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    match text.parse() {
        Ok(number) if is_decimal => number,
        _ => f64::NAN,
    }
}

/// Returns the text of a number, of 15 digits at most.
pub(crate) fn text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{number:.14e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-5..15).contains(&exponent) {
        let decimals = usize::try_from(14 - exponent).unwrap_or(0);
        return without_zeros(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!(
        "{}E{sign}{:02}",
        without_zeros(mantissa),
        exponent.unsigned_abs()
    )
}

/// Cuts what says nothing from the end of a decimal fraction.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_as_github_reads_them() {
        for (from, number) in [
            ("", 0.0),
            (" 1 ", 1.0),
            ("-1.5e2", -150.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("+3", 3.0),
            ("0xff", 255.0),
            ("0xffffffff", -1.0),
            ("0o17", 15.0),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e999", f64::INFINITY),
        ] {
            assert_eq!(parse(from), number, "{from}");
        }
        for from in [
            "x",
            "1x",
            "inf",
            "nan",
            "NaN",
            "0x",
            "0x+1",
            "0o8",
            "1 2",
            "-",
            ".",
            "1e",
            "0x100000000",
        ] {
            assert!(parse(from).is_nan(), "{from}");
        }
    }

    #[test]
    fn numbers_are_written_as_github_writes_them() {
        for (number, to) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-12.5, "-12.5"),
            (0.1 + 0.2, "0.3"),
            (1e14, "100000000000000"),
            (1e15, "1E+15"),
            (1.5e300, "1.5E+300"),
            (0.00001, "0.00001"),
            (0.000_001, "1E-06"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(text(number), to);
        }
    }
}
