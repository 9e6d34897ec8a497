//! Disk images of root file systems: the loop devices that their mounts need.

use super::{Context, Value};
use crate::graph::JobIx;

/// The unit that loads the module of loop devices. systemd makes no rule for devices whose driver
/// the kernel does not have yet (`DeviceAllow=`, systemd.resource-control(5)). The unit ends at
/// once, so only the wave wants it, and the jobs are ordered after it: a second unit that wants it
/// would load the module again.
pub(super) const LOOP_MODULE: &str = "modprobe@loop.service";

/// Returns whether a job's unit mounts a disk image.
pub(super) fn has_disk(context: &Context<'_>, ix: JobIx) -> bool {
    let job = context.job(ix).1;
    let is_disk = |executor: &String| context.run.disks.contains_key(executor);
    job.executor.as_ref().is_some_and(is_disk) && !context.placement(job).is_shared()
}

/// Returns the property that lets the unit of a disk image use loop devices. The command that
/// mounts the image makes their nodes. The job cannot do that.
pub(super) fn loop_devices() -> (&'static str, Value) {
    // systemd reads the numbers of the second one off its path (loop(4)).
    let loops = ["block-loop", "/dev/char/10:237"];
    let loops = loops.map(|name| (name.to_owned(), "rwm".to_owned()));
    ("DeviceAllow", Value::Pairs(loops.into()))
}
