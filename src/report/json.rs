//! Renders one JSON object a line: the events as in `events.jsonl`, and the log lines in the same
//! form.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::Renderer;
use crate::{
    error::escaped_json,
    event::Event,
    ids::JobName,
    log::{LogLine, Mark},
    record::RunRecord,
};

/// Renders a run as JSON lines.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
}

/// A log line in the form of an event.
#[derive(Serialize)]
struct LogEvent<'a> {
    at: Timestamp,
    event: Log<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "log")]
struct Log<'a> {
    job: &'a JobName,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    stream: &'static str,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
    message: &'a str,
}

impl<W: Write> Json<W> {
    /// Returns a renderer.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string(value)?;
        self.out.write_all(escaped_json(&json).as_bytes())?;
        self.out.write_all(b"\n")
    }
}

impl<W: Write> Renderer for Json<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.write(event)
    }

    fn line(&mut self, line: &LogLine) -> io::Result<()> {
        let event = Log {
            job: &line.job,
            step: line.step.as_deref(),
            attempt: line.attempt,
            service: line.service.as_deref(),
            stream: line.stream.as_str(),
            priority: line.priority,
            command: line.mark.map(Mark::as_str),
            message: &line.message,
        };
        self.write(&LogEvent { at: line.at, event })
    }

    fn tick(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, _: Option<&RunRecord>) -> io::Result<()> {
        self.out.flush()
    }
}
