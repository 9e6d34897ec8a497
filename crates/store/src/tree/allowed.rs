//! The files that a copy may hold, where root copies the tree of another user, or follows another
//! user's link. Root reads every file, but the copy is for jobs of that user.
//!
//! The walk asks for each file and directory that it has opened, so a check of the top of a tree is
//! not enough to show what lies below.

use rustix::fs::Stat;

/// The permission of everybody to read a file.
const READ: u32 = 0o004;
/// The permissions of everybody to list and enter a directory.
const LIST: u32 = 0o005;

/// The files and directories that may be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Those that everybody may read.
    Public,
    /// Those that everybody may read, those of two users, and those that two groups may read.
    Of {
        /// The users. Both may be the same.
        users: [u32; 2],
        /// The groups, if there are any.
        groups: Option<[u32; 2]>,
    },
}

impl Allowed {
    /// Returns whether a file or directory may be copied.
    pub fn allows(self, owner: u32, group: u32, mode: u32, is_directory: bool) -> bool {
        let needed = if is_directory { LIST } else { READ };
        let is_public = mode & needed == needed;
        match self {
            Self::Public => is_public,
            Self::Of { users, groups } => {
                let is_shared = groups.is_some_and(|groups| groups.contains(&group))
                    && (mode >> 3) & needed == needed;
                is_public || users.contains(&owner) || is_shared
            }
        }
    }

    pub(super) fn allows_stat(self, stat: &Stat, is_directory: bool) -> bool {
        self.allows(stat.st_uid, stat.st_gid, stat.st_mode, is_directory)
    }
}
