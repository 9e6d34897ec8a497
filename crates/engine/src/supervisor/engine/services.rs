//! Tells a job's runner why systemd could not start a service of the job. Without a supervisor, the
//! runner gives up after a while.

use std::fs;

use super::{Engine, Removed, SuperviseError};
use crate::{
    error::describe,
    ids::JobName,
    reason::{MainEnd, Reason, ServiceResult},
    service::FAILED,
    store,
    systemd::QueueResult,
};

impl Engine<'_> {
    /// Returns the job and the service of a unit, if the unit is one of a service.
    fn service_of(&self, unit: &str) -> Option<(JobName, String)> {
        let name = unit.strip_prefix(&self.unit_prefix)?;
        let (job, service) = name.strip_suffix(".service")?.split_once(':')?;
        let job: JobName = job.parse().ok()?;
        let ix = self.context.graph.ix(&job)?;
        let services = &self.context.job(ix).1.services;
        services
            .contains_key(service)
            .then(|| (job, service.to_owned()))
    }

    /// Notices that systemd could not start a service.
    pub(super) async fn service_removed(
        &mut self,
        removed: &Removed,
    ) -> Result<(), SuperviseError> {
        if !matches!(removed.result, QueueResult::Failed | QueueResult::Timeout) {
            return Ok(());
        }
        let Some((job, service)) = self.service_of(&removed.unit) else {
            return Ok(());
        };
        let root = self.run.service_root(&job, &service).error();
        let why = match fs::read_to_string(root) {
            Ok(why) => Reason::Root { why }.to_string(),
            Err(_) => {
                let end = self.manager.service_end(&removed.unit).await?;
                let reason = end.map(|end| Reason::Service {
                    result: end.evidence().result.clone(),
                    main: end.evidence().main.clone(),
                    own: None,
                });
                let reason = reason.unwrap_or(Reason::Service {
                    result: ServiceResult::Other("failed".to_owned()),
                    main: MainEnd::Unknown,
                    own: None,
                });
                reason.to_string()
            }
        };
        self.manager.reset_failed(&removed.unit).await?;
        let path = self.run.service(&job, &service).out().join(FAILED);
        if let Err(error) = store::write_atomically(&path, why.as_bytes(), 0o644, false) {
            tracing::warn!("{}, the job finds out by itself", describe(&error));
        }
        Ok(())
    }
}
