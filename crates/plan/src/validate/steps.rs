//! Checks steps: their commands, directories, conditions and variables.

use super::jobs::Names;
use crate::{
    fault::{At, Refusal, Sink},
    model::Step,
    rules,
};

pub(super) fn check(steps: &[Step], names: &Names<'_>, at: &At<'_>, sink: &mut Sink) {
    for (i, step) in steps.iter().enumerate() {
        let at = at.index(i);
        match (&step.run, &step.bash) {
            (Some(_), Some(_)) => sink.add(&at, || {
                Refusal::new("both `run` and `bash`", "exactly one of them")
            }),
            (None, None) => sink.add(&at, || {
                Refusal::new("neither `run` nor `bash`", "exactly one of them")
            }),
            (Some(run), None) => super::argv(run, &at.key("run"), sink),
            (None, Some(bash)) => sink.check(&at.key("bash"), rules::script(bash)),
        }
        if let Some(name) = &step.name {
            sink.check(&at.key("name"), rules::step_name(name));
        }
        if let Some(workdir) = &step.workdir {
            sink.check(&at.key("workdir"), rules::workspace_path(workdir));
        }
        if let Some(condition) = &step.condition {
            sink.check(&at.key("condition"), rules::condition(condition));
        }
        super::env(&step.env, &at.key("env"), names, sink);
        super::env_from(&step.env_from, &at.key("envFrom"), sink);
        super::retry(step.retry, &at.key("retry"), sink);
    }
}
