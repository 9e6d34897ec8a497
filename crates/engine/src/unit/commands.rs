//! The subcommands of `nixactions` that are the processes of units.

/// The subcommand that mounts a job's workspace.
pub const MOUNT_COMMAND: &str = "workspace";
/// The subcommand that mounts a job's root file system, and its workspace.
pub const MOUNT_ROOT_COMMAND: &str = "root";
/// The subcommand that runs a job's container.
pub const NSPAWN_COMMAND: &str = "nspawn";
/// The subcommand that runs a container that jobs share.
pub const SHARED_COMMAND: &str = "nspawn-shared";
/// The subcommand by which a job joins that container.
pub const JOIN_COMMAND: &str = "nspawn-join";
