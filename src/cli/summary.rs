//! `nixactions show --summary`: prints the Markdown that a run's steps wrote to
//! `$NIXACTIONS_SUMMARY`.

use std::io::{self, Read, Write};

use crate::{
    record::RunRecord,
    report::clean,
    store::{RunDir, open_untrusted},
};

/// The largest part of a step's summary that is read, in bytes. A runner keeps no more, but a job
/// may have put any file there.
const SUMMARY_MAX: u64 = 2 << 20;

/// Writes the summaries of all steps, below a heading for each job that has any.
pub(super) fn write(out: &mut dyn Write, run: &RunDir, record: &RunRecord) -> io::Result<()> {
    let mut before = "";
    for (name, job) in &record.jobs {
        let texts = (0..job.steps.len())
            .filter_map(|index| read(run, name, index))
            .filter(|text| !text.trim().is_empty());
        for (number, text) in texts.enumerate() {
            out.write_all(before.as_bytes())?;
            before = "\n";
            if number == 0 {
                writeln!(out, "## {name}\n")?;
            }
            // Terminals show it too, so escape it.
            text.lines()
                .try_for_each(|line| writeln!(out, "{}", clean(line, false)))?;
        }
    }
    Ok(())
}

fn read(run: &RunDir, job: &crate::ids::JobName, index: usize) -> Option<String> {
    let file = open_untrusted(&run.job(job).summary(index)).ok()??;
    let mut bytes = Vec::new();
    file.take(SUMMARY_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
