//! The language of the socket: one request, a line of JSON, and frames as the answer. A frame is a
//! line of JSON, and as many bytes of output as the line says.
//!
//! Knows nothing of commands, and nothing of rights.

use std::io::{self, BufRead, Read as _, Write};

use serde::{Deserialize, Serialize};

/// The version of requests and frames.
pub(super) const VERSION: u32 = 1;

/// The longest request, and the largest frame.
const MAX_REQUEST: u64 = 64 << 10;
const MAX_HEADER: u64 = 100;
const MAX_FRAME: u64 = 1 << 20;

/// A command that is to be run.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Request {
    /// [`VERSION`]. An end refuses other versions.
    pub version: u32,
    /// The arguments, without the program's name.
    pub arguments: Vec<String>,
    /// The caller's `NIXACTIONS_LOG_FORMAT`.
    pub log_format: Option<String>,
}

/// A part of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Output of the command.
    Stdout(Vec<u8>),
    /// Messages of the command.
    Stderr(Vec<u8>),
    /// The exit status of the command. The last frame.
    Exit(u8),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Header {
    Stdout(u64),
    Stderr(u64),
    Exit(u8),
}

/// Reads one line of JSON.
fn read_line<T: for<'a> Deserialize<'a>>(from: &mut impl BufRead, max: u64) -> io::Result<T> {
    let mut line = Vec::new();
    from.take(max).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&line).map_err(io::Error::from)
}

fn write_line(to: &mut impl Write, value: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    line.extend(bytes);
    to.write_all(&line)?;
    to.flush()
}

impl Request {
    /// Reads a request.
    pub fn read(from: &mut impl BufRead) -> io::Result<Self> {
        read_line(from, MAX_REQUEST)
    }

    /// Writes the request.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        write_line(to, self, &[])
    }
}

impl Frame {
    /// Reads the next frame.
    pub fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let (is_output, length) = match read_line(from, MAX_HEADER)? {
            Header::Exit(status) => return Ok(Self::Exit(status)),
            Header::Stdout(length) => (true, length),
            Header::Stderr(length) => (false, length),
        };
        let mut bytes = Vec::new();
        from.take(length.min(MAX_FRAME)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 {
            read if read != length => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if is_output => Ok(Self::Stdout(bytes)),
            _ => Ok(Self::Stderr(bytes)),
        }
    }

    /// Writes the frame.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Stdout(bytes) => write_line(to, &Header::Stdout(bytes.len() as u64), bytes),
            Self::Stderr(bytes) => write_line(to, &Header::Stderr(bytes.len() as u64), bytes),
            Self::Exit(status) => write_line(to, &Header::Exit(*status), &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let frames = [
            Frame::Stdout(b"a\n{\"exit\":0}\n".to_vec()),
            Frame::Stderr(Vec::new()),
            Frame::Exit(130),
        ];
        let mut wire = Vec::new();
        frames
            .iter()
            .for_each(|frame| frame.write(&mut wire).unwrap());
        let mut from = wire.as_slice();
        let read: Vec<_> = frames
            .iter()
            .map(|_| Frame::read(&mut from).unwrap())
            .collect();
        assert_eq!(read, frames);
        assert!(Frame::read(&mut from).is_err(), "there is no more");
    }

    #[test]
    fn broken_lines_are_errors() {
        for line in [
            "{\"stdout\":3}\nab",
            "{\"stdout\":1}",
            "{\"stdin\":1}\na",
            "{\"stdout\":99999999}\na",
            "",
        ] {
            assert!(Frame::read(&mut line.as_bytes()).is_err(), "{line}");
        }
        let long = format!(
            "{{\"version\":1,\"arguments\":[\"{}\"]}}\n",
            "x".repeat(70_000)
        );
        assert!(Request::read(&mut long.as_bytes()).is_err());
        let more = "{\"version\":1,\"arguments\":[],\"logFormat\":null,\"user\":\"root\"}\n";
        assert!(
            Request::read(&mut more.as_bytes()).is_err(),
            "unknown fields"
        );
    }
}
