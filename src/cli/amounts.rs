//! The sizes, times and ages that options take.

use jiff::{SignedDuration, Span, Zoned};

use super::CliError;
use crate::plan::{self, Seconds};

/// Parses a size such as `10G` or `512M`.
pub(super) fn bytes(text: &str) -> Result<u64, CliError> {
    plan::size(text).ok_or_else(|| CliError::BadSize {
        text: text.to_owned(),
    })
}

/// Parses a time such as `30m` or `2h`.
pub(super) fn time(text: &str) -> Result<Seconds, CliError> {
    let bad = || CliError::BadTime {
        text: text.to_owned(),
    };
    let time: SignedDuration = text.parse().map_err(|_| bad())?;
    Seconds::try_from(time.as_secs_f64())
        .ok()
        .filter(|_| time.is_positive())
        .ok_or_else(bad)
}

/// Parses an age such as `7d` or `12h`, and returns the moment that long ago.
pub(super) fn moment(text: &str) -> Result<jiff::Timestamp, CliError> {
    let bad = || CliError::BadAge {
        text: text.to_owned(),
    };
    let span: Span = text.parse().map_err(|_| bad())?;
    if span.is_negative() {
        return Err(bad());
    }
    Ok(Zoned::now()
        .checked_sub(span)
        .map_err(|_| bad())?
        .timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_in_units() {
        for (text, size) in [("512M", 512 << 20), ("10G", 10 << 30), ("0", 0)] {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
        }
        for bad in ["", "G", "-1G", "ten", "10GB/s"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, seconds) in [("30m", 1800.0), ("2h", 7200.0), ("1h 30m", 5400.0)] {
            assert_eq!(f64::from(time(text).unwrap()), seconds, "{text}");
        }
        for bad in ["", "7", "0s", "-1h", "soon"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_have_a_number_and_a_unit() {
        for good in ["7d", "12h", "2w", "90 min", "1d 12h", "0s"] {
            assert!(moment(good).unwrap() <= jiff::Timestamp::now(), "{good}");
        }
        for bad in ["7", "a week", "-1d", "", "99999999y"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
