//! Turns a run's events, log lines and records into text, for people and for programs.
//!
//! Pure: all output goes to an [`std::io::Write`] or is returned. Knows nothing of files, journals
//! or the place of a terminal.

mod format;
mod graph;
mod json;
mod live;
mod order;
mod sanitize;
mod structured;
mod summary;
mod text;

use std::io;

pub use format::{Bytes, Duration, Table, conclusion_style, paint, plural, waiting};
pub use graph::{dot, explain, mermaid, tree};
pub use json::Json;
pub use live::{Live, Size};
pub use order::{Item, Order};
pub use sanitize::clean;
pub use structured::Structured;
pub use summary::{jobs_table, steps_lines, tally, verdict};
pub use text::Text;

use crate::{event::Event, log::LogLine, record::RunRecord};

/// Shows a run while it goes on. The caller passes events and lines in the order of their display.
pub trait Renderer {
    /// Shows an event.
    ///
    /// # Errors
    /// Fails if writing fails, with `BrokenPipe` if the reader is gone.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Shows a line of a job's output.
    ///
    /// # Errors
    /// Fails like [`Self::event`].
    fn line(&mut self, line: &LogLine) -> io::Result<()>;

    /// Shows a message of the client itself, for example on the effect of Ctrl-C. The message is
    /// not a part of the run, so it goes to stderr by default.
    ///
    /// # Errors
    /// Fails like [`Self::event`].
    fn notice(&mut self, text: &str) -> io::Result<()> {
        use io::Write;
        writeln!(io::stderr(), "{text}")
    }

    /// Makes everything so far visible. The caller calls this after each batch and several times a
    /// second.
    ///
    /// # Errors
    /// Fails like [`Self::event`].
    fn tick(&mut self) -> io::Result<()>;

    /// Shows the end of the run and restores the terminal. `None` means that the run goes on
    /// without this client.
    ///
    /// # Errors
    /// Fails like [`Self::event`].
    fn finish(&mut self, record: Option<&RunRecord>) -> io::Result<()>;
}
