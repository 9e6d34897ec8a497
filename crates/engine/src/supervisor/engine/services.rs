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
    systemd::{QueueResult, UnitState},
    unit::UnitName,
};

impl Engine<'_> {
    /// Returns the job of a unit, and its services that need the unit: the service of the unit, or
    /// all services if the unit starts them.
    fn services_of(&self, unit: &str) -> Option<(JobName, Vec<String>)> {
        let name = unit.strip_prefix(&self.unit_prefix)?;
        let (job, service) = name.strip_suffix(".service")?.split_once(':')?;
        let job: JobName = job.parse().ok()?;
        let ix = self.context.graph.ix(&job)?;
        let mut services: Vec<_> = self.context.job(ix).1.services.keys().cloned().collect();
        if unit != UnitName::services(&self.context.run.run, &job).as_str() {
            services.retain(|name| name == service);
        }
        (!services.is_empty()).then_some((job, services))
    }

    /// Notices that systemd could not start a service.
    pub(super) async fn service_removed(
        &mut self,
        removed: &Removed,
    ) -> Result<(), SuperviseError> {
        if !matches!(removed.result, QueueResult::Failed | QueueResult::Timeout) {
            return Ok(());
        }
        self.service_failed(&removed.unit).await
    }

    /// Looks for failed units of services. systemd tells the supervisor when a start has ended, but
    /// not when a process has ended.
    pub(super) async fn look_at_services(
        &mut self,
        loaded: &[UnitState],
    ) -> Result<(), SuperviseError> {
        for unit in loaded.iter().filter(|unit| unit.active == "failed") {
            self.service_failed(&unit.name).await?;
        }
        Ok(())
    }

    /// Tells the runner of a job that the unit of a service has failed, or the unit that starts its
    /// services. A service that has begun reports its end itself.
    async fn service_failed(&mut self, unit: &str) -> Result<(), SuperviseError> {
        let Some((job, mut services)) = self.services_of(unit) else {
            return Ok(());
        };
        let is_starter = unit == UnitName::services(&self.context.run.run, &job).as_str();
        services.retain(|service| !store::has_started(&self.run.service(&job, service)));
        let root = services
            .first()
            .filter(|_| !is_starter)
            .map(|service| self.run.service_root(&job, service).error());
        let why = match root.map(fs::read_to_string) {
            Some(Ok(why)) => Reason::Root { why }.to_string(),
            _ => {
                let end = self.manager.service_end(unit).await?;
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
                match is_starter {
                    true => format!("its ports could not be held: {reason}"),
                    false => reason.to_string(),
                }
            }
        };
        self.manager.reset_failed(unit).await?;
        for service in services {
            let path = self.run.service(&job, &service).out().join(FAILED);
            if let Err(error) = store::write_atomically(&path, why.as_bytes(), 0o644, false) {
                tracing::warn!("{}, the job finds out by itself", describe(&error));
            }
        }
        Ok(())
    }
}
