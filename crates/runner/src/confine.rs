//! The job's Landlock domain (landlock(7)). All processes of the job, including the runner, are in
//! it. So steps can signal and trace one another, and no processes outside.
//!
//! The domain does not handle access to files: such a domain forbids every mount(2), which builders
//! of containers need. Linux scopes signals and abstract sockets from 6.12 on. Before that, this
//! module restricts nothing, and only the job's own user and the unit's sandbox protect other
//! processes.

use landlock::{ABI, Access, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, Scope};

/// Enters the domain permanently.
///
/// Fails if the kernel has Landlock and refuses the domain.
pub(super) fn confine() -> Result<(), RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()
        .map(drop)
}
