//! Formats numbers for people, pads columns, and applies the few colours.

use std::fmt;

use jiff::Timestamp;
use owo_colors::{OwoColorize, Style};

use super::sanitize::clean;
use crate::{record::Conclusion, store::view::Waiting};

/// A span of time in seconds, shown as `83ms`, `1.2s`, `1m02s`, `1h02m` or `2d03h`.
#[derive(Debug, Clone, Copy)]
pub struct Duration(pub f64);

impl Duration {
    /// Returns the time between two moments, if both are known.
    pub fn between(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Self> {
        Some(Self(end?.duration_since(start?).as_secs_f64().max(0.0)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.round() as u64;
        let text = match self.0 {
            seconds if seconds < 0.9995 => format!("{:.0}ms", seconds * 1000.0),
            seconds if seconds < 59.95 => format!("{seconds:.1}s"),
            seconds if seconds < 3599.5 => format!("{}m{:02}s", whole / 60, whole % 60),
            _ if whole < 86_400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
            _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3600),
        };
        f.pad(&text)
    }
}

/// A number of bytes, shown as `512B`, `1.0M`, `2.3G` (powers of 1024, as systemctl(1) shows them).
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut units = ["B", "K", "M", "G", "T", "P", "E"].into_iter().peekable();
        while value >= 1024.0 && units.len() > 1 {
            value /= 1024.0;
            units.next();
        }
        let unit = units.next().unwrap_or("E");
        f.pad(&if unit == "B" {
            format!("{}B", self.0)
        } else {
            format!("{value:.1}{unit}")
        })
    }
}

/// Returns the text in a style if `colour` is set, and the plain text otherwise.
pub fn paint(text: impl fmt::Display, style: Style, colour: bool) -> String {
    if colour {
        text.style(style).to_string()
    } else {
        text.to_string()
    }
}

/// Returns the style of a conclusion's word.
pub fn conclusion_style(conclusion: Conclusion) -> Style {
    match conclusion {
        Conclusion::Success => Style::new().green(),
        Conclusion::Failure => Style::new().red().bold(),
        Conclusion::Cancelled => Style::new().yellow(),
        Conclusion::Skipped => Style::new().dimmed(),
    }
}

/// Returns `1 job`, `2 jobs`.
pub fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A table of words. Each column is as wide as its widest cell. The last cell of a row is not
/// padded.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<(String, Option<Style>)>>,
}

impl Table {
    /// Returns a table with these column titles.
    pub fn new(heads: &[&str]) -> Self {
        let bold = Some(Style::new().bold());
        Self {
            rows: vec![
                heads
                    .iter()
                    .map(|head| ((*head).to_owned(), bold))
                    .collect(),
            ],
        }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: Vec<(String, Option<Style>)>) {
        self.rows.push(cells);
    }

    /// Returns whether the table has only titles.
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// Writes the table.
    ///
    /// # Errors
    /// Fails if writing to `out` fails.
    pub fn write(&self, out: &mut dyn std::io::Write, colour: bool) -> std::io::Result<()> {
        use unicode_width::UnicodeWidthStr;
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .map(|row| row[column].0.width())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (text, style)) in row.iter().enumerate() {
                let last = row[column + 1..].iter().all(|(text, _)| text.is_empty());
                line.push_str(
                    &style.map_or_else(|| text.clone(), |style| paint(text, style, colour)),
                );
                if last {
                    break;
                }
                line.extend(std::iter::repeat_n(' ', widths[column] - text.width() + 2));
            }
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// The text about a job that waits for a place.
pub(super) const WAITS: &str = "waiting for a place among the jobs that run at once";

/// Returns why a run has not begun yet.
pub fn waiting(waiting: &Waiting) -> String {
    let group = clean(&waiting.group, false);
    let holder = waiting.held_by.as_ref();
    let holder = holder.map_or_else(String::new, |run| format!(", held by {run}"));
    format!("waiting for group `{group}`{holder}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_two_units() {
        for (seconds, text) in [
            (0.0, "0ms"),
            (0.0834, "83ms"),
            (0.9996, "1.0s"),
            (1.25, "1.2s"),
            (59.96, "1m00s"),
            (62.0, "1m02s"),
            (3599.6, "1h00m"),
            (3_720.0, "1h02m"),
            (183_600.0, "2d03h"),
        ] {
            assert_eq!(Duration(seconds).to_string(), text, "{seconds}");
        }
    }

    #[test]
    fn bytes_are_powers_of_1024() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (12_897_484, "12.3M"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let mut table = Table::new(&["A", "LONG", "C"]);
        table.row(vec![
            ("wider".into(), None),
            (String::new(), None),
            (String::new(), None),
        ]);
        table.row(vec![
            ("x".into(), Some(Style::new().red())),
            ("y".into(), None),
            ("z z".into(), None),
        ]);
        let mut out = Vec::new();
        table.write(&mut out, false).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "A      LONG  C\nwider\nx      y     z z\n"
        );
    }
}
