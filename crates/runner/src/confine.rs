//! The job's Landlock domain (landlock(7)): all its processes, the runner among them, are in it, so
//! steps can signal and trace one another, and nothing outside.
//!
//! The domain handles no access to files: one that does forbids every mount(2), which builders of
//! containers need. Signals and abstract sockets can be scoped from Linux 6.12 on; before, nothing
//! is restricted here, and the job's own user and the unit's sandbox are what there is.

use landlock::{ABI, Access, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, Scope};

/// Enters the domain, for good.
///
/// # Errors
/// Fails where the kernel has Landlock and refuses.
pub(super) fn confine() -> Result<(), RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()
        .map(drop)
}
