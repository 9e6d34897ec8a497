//! A run as people and programs see it: events, log lines and records become text.
//!
//! Pure: everything is written to an [`std::io::Write`] or returned. Knows nothing of files,
//! journals, or where a terminal is.

mod format;
mod graph;
mod json;
mod live;
mod order;
mod progress;
mod sanitize;
mod structured;
mod summary;
mod text;

use std::io;

pub use format::{Bytes, Duration, Table, conclusion_style, paint, plural};
pub use graph::{dot, explain, mermaid, tree};
pub use json::Json;
pub use live::{Live, Size};
pub use order::{Item, Order};
pub use progress::{Progress, Running, Waiting};
pub use sanitize::clean;
pub use structured::Structured;
pub use summary::{jobs_table, steps_lines, tally, verdict};
pub use text::Text;

use crate::{event::Event, log::LogLine, record::RunRecord};

/// Shows a run while it goes on. What is given to it comes in the order in which it is to be shown.
pub trait Renderer {
    /// Shows an event.
    ///
    /// # Errors
    /// Fails when its output does; `BrokenPipe` where nobody reads it any more.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Shows a line of a job's output.
    ///
    /// # Errors
    /// As [`Self::event`].
    fn line(&mut self, line: &LogLine) -> io::Result<()>;

    /// Shows what the client itself has to say, such as what Ctrl-C does. It is no part of the run,
    /// so by default it goes to stderr.
    ///
    /// # Errors
    /// As [`Self::event`].
    fn notice(&mut self, text: &str) -> io::Result<()> {
        use io::Write;
        writeln!(io::stderr(), "{text}")
    }

    /// Brings what was given so far before the reader's eyes. Called after each batch, and some
    /// times a second.
    ///
    /// # Errors
    /// As [`Self::event`].
    fn tick(&mut self) -> io::Result<()>;

    /// Shows how the run ended, and gives back the terminal. `None`: the run goes on without this
    /// client.
    ///
    /// # Errors
    /// As [`Self::event`].
    fn finish(&mut self, record: Option<&RunRecord>) -> io::Result<()>;
}
