//! Tells a job's runner why systemd could not start a service of the job. Without a supervisor, the
//! runner gives up after a while. Also notes the services that ran out of memory, for the record.

use std::fs;

use super::{Engine, Removed, SuperviseError};
use crate::{
    error::describe,
    ids::JobName,
    reason::{MainEnd, Reason, ServiceResult},
    record::JobRecord,
    service::FAILED,
    store,
    systemd::{QueueResult, ServiceEnd, UnitState},
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

    /// Returns whether a unit is a service of a job, or starts its services.
    pub(super) fn is_service(&self, unit: &str) -> bool {
        self.services_of(unit).is_some()
    }

    /// Notices that systemd could not start a service, or that one has failed.
    pub(super) async fn service_removed(
        &mut self,
        removed: &Removed,
    ) -> Result<(), SuperviseError> {
        if !matches!(removed.result, QueueResult::Failed | QueueResult::Timeout) {
            return Ok(());
        }
        self.service_failed(&removed.unit).await
    }

    /// Looks for failed units of services, in case a signal of systemd was missed.
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
    /// services. A service that has begun reports its end itself, unless it was killed.
    async fn service_failed(&mut self, unit: &str) -> Result<(), SuperviseError> {
        let Some((job, mut services)) = self.services_of(unit) else {
            return Ok(());
        };
        let is_starter = unit == UnitName::services(&self.context.run.run, &job).as_str();
        let end = self.manager.service_end(unit).await?;
        let is_out_of_memory = |end: &ServiceEnd| end.evidence().result == ServiceResult::OomKill;
        if !is_starter && end.as_ref().is_some_and(is_out_of_memory) {
            let names = services
                .iter()
                .map(|service| (job.clone(), service.clone()));
            self.out_of_memory.extend(names);
        }
        services.retain(|service| !store::has_started(&self.run.service(&job, service)));
        let root = services
            .first()
            .filter(|_| !is_starter)
            .map(|service| self.run.service_root(&job, service).error());
        let why = match root.map(fs::read_to_string) {
            Some(Ok(why)) => Reason::Root { why }.to_string(),
            _ => {
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
    /// Writes into a job's record which of its services ran out of memory. The kernel or systemd
    /// may have killed the runner of such a service before it could tell.
    pub(super) fn tell_of_memory(&self, job: &JobName, record: &mut JobRecord) {
        let told = record.reason.clone();
        for (name, service) in &mut record.services {
            if !self.out_of_memory.contains(&(job.clone(), name.clone())) {
                continue;
            }
            let why = Reason::OutOfMemory.to_string();
            let before = service.reason.replace(why.clone());
            let of = |why| Reason::JobService {
                service: name.clone(),
                why,
            };
            if before.is_some_and(|before| told == Some(of(before).to_string())) {
                let reason = of(why);
                (record.reason, record.reason_code) = (Some(reason.to_string()), reason.code());
            }
        }
    }
}
