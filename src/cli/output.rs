//! Chooses the renderer of a run: by the requested format and by the kind of standard output.

use std::io::{self, BufWriter, IsTerminal, Write as _};

use jiff::Timestamp;

use super::args::Output;
use crate::{
    ids::RunId,
    report::{Json, Live, Renderer, Size, Structured, Text},
};

/// Prints a message beside the command's actual output. If standard error is closed or full, the
/// command goes on without it.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Returns whether standard output is a terminal that obeys escape sequences.
pub(super) fn on_terminal() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Returns whether standard output takes colours (<https://no-color.org>).
pub(super) fn colour() -> bool {
    on_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns the renderer for standard output. With `live`, it shows a live view on a terminal.
pub fn renderer(output: Output, run: &RunId, live: bool) -> Box<dyn Renderer> {
    let out = BufWriter::with_capacity(64 << 10, io::stdout());
    match output {
        Output::Text if live && on_terminal() => Box::new(Live::new(
            io::stdout(),
            run.as_str(),
            colour(),
            Timestamp::now,
            size,
        )),
        Output::Text => Box::new(Text::new(out, colour())),
        Output::Structured => Box::new(Structured::new(out, run.split().0)),
        Output::Json => Box::new(Json::new(out)),
    }
}

fn size() -> Size {
    match terminal_size::terminal_size_of(io::stdout()) {
        Some((columns, rows)) if columns.0 > 0 && rows.0 > 0 => Size {
            columns: columns.0.into(),
            rows: rows.0.into(),
        },
        _ => Size {
            columns: 80,
            rows: 24,
        },
    }
}
