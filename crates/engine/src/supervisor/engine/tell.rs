//! Tells the journal how jobs ended, in words that its catalog explains (`journalctl --catalog`).

use crate::{
    catalog::Message,
    ids::JobName,
    record::JobRecord,
    unit::{ManagerKind, RunSpec, UnitName},
};

/// Tells the journal of a job that did not succeed.
///
/// The entry also belongs to the job's unit: root may attach an entry to a unit
/// (systemd.journal-fields(7), `OBJECT_SYSTEMD_UNIT=`). It has no stream, so the log of the run
/// leaves it out.
pub(super) fn end(run: &RunSpec, job: &JobName, record: &JobRecord) {
    let Some(message) = Message::of_job(record) else {
        return;
    };
    let unit = UnitName::job(&run.run, job);
    let (system, user) = match run.manager {
        ManagerKind::User => (None, Some(unit.as_str())),
        ManagerKind::System | ManagerKind::Embedded => (Some(unit.as_str()), None),
    };
    tracing::warn!(
        MESSAGE_ID = message.id(),
        OBJECT_SYSTEMD_UNIT = system,
        OBJECT_SYSTEMD_USER_UNIT = user,
        nixactions_unit = unit.as_str(),
        nixactions_job = %job,
        nixactions_reason = record.reason_code.map(tracing::field::display),
        "job `{job}`: {}: {}",
        record.outcome,
        record.reason.as_deref().unwrap_or("no reason is known"),
    );
}
