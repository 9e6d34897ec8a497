//! Reads the result of a job's runner: the last line of the job's events.
//!
//! systemd opens that file for the runner, and no step can write to it (`runner::port`). A killed
//! runner leaves a torn last line, or no result.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use super::{StoreError, files::open_untrusted};
use crate::{
    bounds::LINE_MAX,
    event::{Event, EventKind},
    paths::JobPaths,
    record::{JobResult, RESULT_VERSION},
};

/// The size of the first read at the file's end, in bytes. The last line is usually shorter.
const FIRST: usize = 4 << 10;

/// Returns whether a job's runner has reported its start.
pub fn has_started(job: &JobPaths) -> bool {
    std::fs::symlink_metadata(job.events()).is_ok_and(|meta| meta.len() > 0)
}

/// Returns the result of a job's runner, or `None` if the runner has not reported one.
///
/// # Errors
/// The job's events cannot be read, or the result has another version.
pub fn read_result(job: &JobPaths) -> Result<Option<JobResult>, StoreError> {
    let path = job.events();
    let Some(file) = open_untrusted(&path)? else {
        return Ok(None);
    };
    let line = last_line(&file).map_err(|source| StoreError::io("read", &path, source))?;
    let Some(line) = line else {
        return Ok(None);
    };
    match serde_json::from_slice(&line) {
        Ok(Event {
            event: EventKind::RunnerEnded { result, .. },
            ..
        }) => checked(result, &path).map(Some),
        // The readers of all events report other lines and damaged lines.
        Ok(_) | Err(_) => Ok(None),
    }
}

fn checked(result: JobResult, path: &Path) -> Result<JobResult, StoreError> {
    if result.version == RESULT_VERSION {
        return Ok(result);
    }
    Err(StoreError::OtherVersion {
        path: path.to_owned(),
        found: result.version,
        known: RESULT_VERSION,
    })
}

/// Returns the last line of a file, if the line is complete and not too long.
fn last_line(file: &File) -> io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let mut size = FIRST;
    loop {
        let start = length.saturating_sub(size as u64);
        let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(size)];
        file.read_exact_at(&mut bytes, start)?;
        if bytes.pop() != Some(b'\n') {
            return Ok(None);
        }
        match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => return Ok(Some(bytes.split_off(end + 1))),
            None if start == 0 => return Ok(Some(bytes)),
            None if size > LINE_MAX => return Ok(None),
            None => size *= 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::JobRecord;

    fn left(text: &[u8]) -> Option<JobResult> {
        let directory = tempfile::tempdir().unwrap();
        let job = JobPaths::at(directory.path().to_owned());
        std::fs::create_dir(job.out()).unwrap();
        std::fs::write(job.events(), text).unwrap();
        assert_eq!(has_started(&job), !text.is_empty());
        read_result(&job).unwrap()
    }

    fn result(outputs: usize) -> (JobResult, Vec<u8>) {
        let mut record = JobRecord::new("u".to_owned());
        record.outputs.insert("k".into(), "v".repeat(outputs));
        let result = JobResult {
            version: RESULT_VERSION,
            failed: false,
            record,
        };
        let event = Event {
            at: jiff::Timestamp::UNIX_EPOCH,
            event: EventKind::RunnerEnded {
                job: "j".parse().unwrap(),
                result: result.clone(),
            },
        };
        let mut line = serde_json::to_vec(&event).unwrap();
        line.push(b'\n');
        (result, line)
    }

    #[test]
    fn a_result_is_a_whole_last_line() {
        let (small, line) = result(1);
        assert_eq!(left(b""), None);
        assert_eq!(left(&line), Some(small.clone()));
        assert_eq!(left(&[b"{}\n", &line[..]].concat()), Some(small));
        assert_eq!(left(&line[..line.len() - 1]), None, "the line is torn");
        assert_eq!(left(&[&line[..], b"{}\n"].concat()), None);
        let (large, line) = result(1 << 20);
        assert_eq!(left(&[b"{}\n", &line[..]].concat()), Some(large));
        assert_eq!(left(&vec![b'x'; 3 * LINE_MAX]), None);
    }
}
