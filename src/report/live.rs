//! The live view on a terminal. Log lines scroll above a status area, which shows the running jobs.
//!
//! indicatif does not fit here: it pads every printed line to the terminal's width, so a window
//! that becomes narrower shows each line twice, and it counts a tab as nothing. The view needs
//! little: it erases the area, prints, and draws the area again, in one write. It changes no mode
//! of the terminal. Only the area must be removed at the end, and a killed client leaves the
//! terminal usable. Knows neither the clock nor the terminal: it gets functions that ask both.

use std::io::{self, Write};

use jiff::Timestamp;
use owo_colors::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    Duration, Renderer, Text,
    format::{paint, waiting},
    sanitize::clean,
    summary::tally,
};
use crate::{
    event::{Event, EventKind},
    log::LogLine,
    record::{Conclusion, RunRecord},
    store::view::Progress,
};

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// Renders a run on a terminal.
#[derive(Debug)]
pub struct Live<W, C, S> {
    terminal: W,
    clock: C,
    size: S,
    text: Text<Vec<u8>>,
    progress: Progress,
    run: String,
    colour: bool,
    /// The widths of the status area's lines on the terminal.
    drawn: Vec<usize>,
    ticks: usize,
}

impl<W: Write, C: Fn() -> Timestamp, S: Fn() -> Size> Live<W, C, S> {
    /// Returns a renderer for a run on a terminal. Each drawing asks for the terminal's size again.
    pub fn new(terminal: W, run: &str, colour: bool, clock: C, size: S) -> Self {
        let text = Text::new(Vec::new(), colour);
        Self {
            terminal,
            clock,
            size,
            text,
            progress: Progress::default(),
            run: run.to_owned(),
            colour,
            drawn: Vec::new(),
            ticks: 0,
        }
    }

    /// Erases the status area and prints the new lines. Draws the area again if `area` is set.
    fn draw(&mut self, area: bool) -> io::Result<()> {
        let size = (self.size)();
        let mut bytes = erase(&self.drawn, size.columns).into_bytes();
        bytes.append(self.text.out());
        // Before the first event there is nothing to draw.
        let known = self.progress.created.is_some() || !self.progress.running.is_empty();
        let lines = if area && known {
            self.area(size)
        } else {
            Vec::new()
        };
        self.drawn = lines.iter().map(|(_, width)| *width).collect();
        let lines: Vec<String> = lines.into_iter().map(|(line, _)| line).collect();
        bytes.extend_from_slice(lines.join("\n").as_bytes());
        self.terminal.write_all(&bytes)?;
        self.terminal.flush()
    }

    /// Returns the lines of the status area with their widths. Each line fits into one row.
    fn area(&self, size: Size) -> Vec<(String, usize)> {
        let now = (self.clock)();
        let elapsed = |since: Timestamp| {
            Duration(now.duration_since(since).as_secs_f64().max(0.0)).to_string()
        };
        let most = size.rows.saturating_sub(3);
        let mut lines = Vec::new();
        let fit = |line: String, style: Style| {
            let line = truncate(&line, size.columns.saturating_sub(1));
            let width = line.width();
            (paint(line, style, self.colour), width)
        };
        // Show the jobs that have been running longest first: the user waits for these.
        let mut running: Vec<_> = self.progress.running.iter().collect();
        running.sort_by_key(|(_, running)| running.since);
        let hidden = if running.len() > most {
            running.len() - most.saturating_sub(1).min(running.len())
        } else {
            0
        };
        let shown = running.len() - hidden;
        let width = running[..shown]
            .iter()
            .map(|(job, _)| job.as_str().len())
            .max()
            .unwrap_or(0);
        let spinner = ['|', '/', '-', '\\'][self.ticks / 2 % 4];
        for (job, running) in &running[..shown] {
            let step = running
                .step
                .as_ref()
                .map_or_else(String::new, |(name, attempt)| match attempt {
                    _ if running.is_held => "held for a shell".to_owned(),
                    0 | 1 => clean(name, false).into_owned(),
                    _ => format!("{}, attempt {attempt}", clean(name, false)),
                });
            lines.push(fit(
                format!(
                    "{spinner} {:width$} {:>7}  {step}",
                    job.as_str(),
                    elapsed(running.since)
                ),
                Style::new(),
            ));
        }
        if hidden > 0 && most > 0 {
            lines.push(fit(format!("  and {hidden} more"), Style::new().dimmed()));
        }
        let mut line = format!(
            "{}: {}/{}",
            self.run,
            self.progress.done(),
            self.progress.total.unwrap_or(0)
        );
        if !self.progress.ended.is_empty() {
            line.push_str(&format!(" ({})", tally(&self.progress.ended)));
        }
        match &self.progress.waiting {
            Some(group) => line.push_str(&format!(", {}", waiting(group))),
            None => line.push_str(&format!(", {} running", self.progress.running.len())),
        }
        if !self.progress.kept_waiting.is_empty() {
            let count = self.progress.kept_waiting.len();
            line.push_str(&format!(", {count} waiting for a place"));
        }
        if let Some(created) = self.progress.created {
            line.push_str(&format!(", {}", elapsed(created)));
        }
        let style = match &self.progress.cancelled {
            Some((_, kill)) => {
                line.push_str(if *kill { ", killing" } else { ", cancelling" });
                Style::new().bold().yellow()
            }
            None if self.progress.ended.contains_key(&Conclusion::Failure) => {
                Style::new().bold().red()
            }
            None => Style::new().bold(),
        };
        lines.push(fit(line, style));
        lines
    }
}

/// Returns the control sequence that erases an area whose lines have these widths. The terminal may
/// have become narrower since then and wrapped the lines.
fn erase(widths: &[usize], columns: usize) -> String {
    if widths.is_empty() {
        return String::new();
    }
    let rows: usize = widths
        .iter()
        .map(|width| width.div_ceil(columns.max(1)).max(1))
        .sum();
    let up = if rows > 1 {
        format!("\x1b[{}A", rows - 1)
    } else {
        String::new()
    };
    format!("\r{up}\x1b[J")
}

/// Returns the text cut to a number of columns.
fn truncate(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.trim_end().to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        out.push(c);
    }
    out
}

impl<W: Write, C: Fn() -> Timestamp, S: Fn() -> Size> Renderer for Live<W, C, S> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.progress.apply(event);
        // The status area already shows the started job.
        if matches!(event.event, EventKind::JobStarted { .. }) {
            Ok(())
        } else {
            self.text.event(event)
        }
    }

    fn line(&mut self, line: &LogLine) -> io::Result<()> {
        self.text.line(line)
    }

    fn notice(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.text.out(), "{text}")
    }

    fn tick(&mut self) -> io::Result<()> {
        self.ticks += 1;
        self.draw(true)
    }

    fn finish(&mut self, record: Option<&RunRecord>) -> io::Result<()> {
        self.text.finish(record)?;
        self.draw(false)
    }
}
