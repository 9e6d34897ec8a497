//! The workspace of a job: an overlay mount, whose cost does not depend on the size of the source
//! tree (see overlayfs in the kernel's documentation).
//!
//! The run has one copy of the source tree, which is the lower layer of all its jobs' workspaces.
//! The changes of a job go into a layer of its own. The files of the copy belong to root and must
//! appear to belong to the job: an id-mapped mount (mount_setattr(2)) gives them to the job's user.
//! systemd chooses that user when it starts the job's unit. So the unit's `ExecStartPre=` mounts
//! the workspace, with full privileges, outside of the job's sandbox and before any process of the
//! job runs. The job's own processes never have more rights than the sandbox gives them. The
//! supervisor unmounts the workspace when the job is over.

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use rustix::{
    fs::{CWD, Dir, Mode, OFlags, openat, readlinkat, symlinkat},
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{
    At, Attributes, Ids, NOT_ENTERED, OWN_PROGRAM, OverlayError, PROBE, PROBE_IN_PID1, directory,
    mapping, set_attributes,
};
use crate::{
    error::describe,
    store::{ModePolicy, TreeCopy},
    unit::{JobPaths, RunPaths},
};

/// The most entries of a workspace among which links are looked for.
const ENTRIES_MAX: usize = 10_000;
/// A user other than root.
const NOBODY: Ids = Ids {
    user: 65534,
    group: 65534,
};

/// Returns whether workspaces can be mounted below a directory: the kernel and the file system
/// support it, and this process may do it. The directory must be writable. A test mount is made, in
/// the mount namespace of systemd if it is `running`; a systemd that is still to be booted will
/// have this process's namespace. A service with few rights may not enter systemd's namespace and
/// tests in its own. If a job then cannot mount, it copies the tree.
pub fn works_below(directory: &Path, running: bool) -> bool {
    let try_it = |probe: &str| {
        Command::new(OWN_PROGRAM)
            .arg(probe)
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()
            .and_then(|status| status.code())
    };
    match running.then(|| try_it(PROBE_IN_PID1)) {
        None => try_it(PROBE) == Some(0),
        Some(code) if code == Some(NOT_ENTERED.into()) => try_it(PROBE) == Some(0),
        Some(code) => code == Some(0),
    }
}

/// Unmounts a job's workspace, if it is mounted. The job's changes stay in [`JobPaths::changes`].
pub fn unmount(job: &JobPaths) {
    if !job.overlay().exists() {
        return;
    }
    // Without its links, Nix's garbage collector would remove what the job has built. A failure
    // costs no more than that.
    if let Err(error) = keep_links(job) {
        tracing::debug!(
            "failed to keep links of `{}`: {error}",
            job.path().display()
        );
    }
    for path in [job.workspace(), job.overlay_source()] {
        // This fails if nothing is mounted, which is the goal.
        let _ = umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
    // The kernel's files there are of no use now. Files that cannot be removed go with the run.
    let _ = fs::remove_dir_all(job.overlay());
}

/// Copies the job's links into Nix's store to the directory below the mounted workspace, where they
/// are seen once it is unmounted. The job's user owns both directories, and may have replaced them
/// by links.
fn keep_links(job: &JobPaths) -> io::Result<()> {
    let open = |at: BorrowedFd<'_>, path: &Path| {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(at, path, flags, Mode::empty())
    };
    let changes = open(CWD, &job.changes())?;
    let links: Vec<_> = Dir::read_from(&changes)?
        .take(ENTRIES_MAX)
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().to_owned();
            let target = readlinkat(&changes, &name, Vec::new()).ok()?;
            let leads_into_store = target.to_bytes().starts_with(b"/nix/store/");
            leads_into_store.then_some((name, target))
        })
        .collect();
    if links.is_empty() {
        return Ok(());
    }
    // A copy of the mount without those below it: there, nothing hides the directory.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let work = open_tree(CWD, job.work(), flags)?;
    let workspace = job.workspace();
    let name = workspace.file_name().unwrap_or_default();
    let workspace = open(work.as_fd(), Path::new(name))?;
    for (name, target) in links {
        match symlinkat(&target, &workspace, &name) {
            Err(rustix::io::Errno::EXIST) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Mounts the workspace of the job whose unit is being started. If that fails, the job gets a copy
/// of the source tree to fill its workspace from. If that fails as well, a file holds the reason
/// for the job's runner, which has a record to put it in.
pub(super) fn mount_or_copy_workspace(
    job: &JobPaths,
    ids: impl FnOnce() -> Result<Ids, OverlayError>,
) -> Result<(), OverlayError> {
    let run = job.path().ancestors().nth(2).unwrap_or(Path::new("/"));
    let lower = RunPaths::new(run.to_owned()).source_tree();
    let made = directory(&job.overlay(), 0o755).and_then(|()| {
        let ids = ids()?;
        mount_workspace(&lower, job, ids).or_else(|error| {
            copy_for_job(&lower, job, ids)?;
            fs::write(job.overlay_copied(), describe(&error))
                .at("record why the workspace is not mounted")
        })
    });
    match made {
        Ok(()) => Ok(()),
        Err(error) => fs::write(job.overlay_error(), describe(&error))
            .at("record why the workspace is not mounted"),
    }
}

/// Copies `lower` for a job of this user to the place of the mount. The runner fills an empty
/// workspace from there.
fn copy_for_job(lower: &Path, job: &JobPaths, ids: Ids) -> Result<(), OverlayError> {
    for path in [job.workspace(), job.overlay_source()] {
        // This fails if nothing is mounted, which is the goal.
        let _ = umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        directory(&path, 0o755)?;
    }
    let copied = TreeCopy::new(lower, &job.overlay_source(), ModePolicy::Keep).all();
    copied
        .map_err(io::Error::other)
        .at("copy the source tree")?;
    for path in [job.workspace(), job.changes()] {
        directory(&path, 0o755)?;
        chown(&path, Some(ids.user), Some(ids.group))
            .at(format!("give `{}` to the job's user", path.display()))?;
    }
    give_away(&job.overlay_source(), ids).at("give the source tree to the job's user")
}

/// Makes a user the owner of a tree that no other process can change.
fn give_away(tree: &Path, ids: Ids) -> io::Result<()> {
    let mut left = vec![tree.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path)?;
        lchown(&path, Some(ids.user), Some(ids.group))?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else if meta.is_file() {
            // chown(2) clears the set-user-ID bit, so set the mode again.
            fs::set_permissions(&path, meta.permissions())?;
        }
    }
    Ok(())
}

/// Mounts `lower` as the workspace of a job of this user.
fn mount_workspace(lower: &Path, job: &JobPaths, ids: Ids) -> Result<(), OverlayError> {
    for path in [job.changes(), job.workspace()] {
        directory(&path, 0o755)?;
        chown(&path, Some(ids.user), Some(ids.group))
            .at(format!("give `{}` to the job's user", path.display()))?;
    }
    for path in [job.overlay_source(), job.overlay_work()] {
        directory(&path, 0o700)?;
    }
    let view = open_tree(
        CWD,
        lower,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
    .at(format!("take `{}` as a mount", lower.display()))?;
    let namespace = if ids.user == 0 {
        None
    } else {
        Some(mapping(
            &format!("0 {} 1", ids.user),
            &format!("0 {} 1", ids.group),
        )?)
    };
    set_attributes(&view, Attributes::READ_ONLY, namespace.as_ref())
        .at("map the source tree's owner to the job's user")?;
    move_mount(
        view,
        "",
        CWD,
        job.overlay_source(),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at("mount the source tree")?;
    // The paths are relative, since some characters have a meaning in mount options.
    env::set_current_dir(job.path()).at(format!("go to `{}`", job.path().display()))?;
    let relative = |path: PathBuf| {
        path.strip_prefix(job.path())
            .unwrap_or(&path)
            .display()
            .to_string()
    };
    let options = format!(
        // `redirect_dir` lets a job rename directories of the source tree. A workspace need not
        // survive a crash: without `volatile` each unmount would write the whole file system's data
        // in memory to disk.
        "lowerdir={},upperdir={},workdir={},redirect_dir=on,index=off,metacopy=off,volatile",
        relative(job.overlay_source()),
        relative(job.changes()),
        relative(job.overlay_work()),
    );
    mount(
        Some("nixactions"),
        &job.workspace(),
        Some("overlay"),
        MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
        Some(options.as_str()),
    )
    .at("mount the workspace over the source tree")
}

/// Mounts a workspace in a mount namespace of its own, which goes away with the process, and checks
/// that the files of the tree belong to another user.
pub(super) fn probe(directory: &Path) -> Result<(), OverlayError> {
    let look = || -> Result<(), OverlayError> {
        unshare(CloneFlags::CLONE_NEWNS).at("make a mount namespace")?;
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_PRIVATE | MsFlags::MS_REC,
            None::<&str>,
        )
        .at("make mounts private")?;
        let (lower, job) = (directory.join("lower"), JobPaths::at(directory.join("job")));
        for path in [directory, &lower, job.path(), &job.work(), &job.overlay()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .at("make a directory")?;
        }
        fs::write(lower.join("file"), "").at("make a file")?;
        mount_workspace(&lower, &job, NOBODY)?;
        let file = job.workspace().join("file");
        let owner = fs::metadata(&file)
            .at("read the attributes of a file")?
            .uid();
        // The user must be able to make a copy of the file, for example by changing its mode.
        fs::set_permissions(&file, Permissions::from_mode(0o600)).at("copy a file up")?;
        if owner == NOBODY.user {
            Ok(())
        } else {
            Err(Errno::EPERM).at("map the owners of files")
        }
    };
    let result = look();
    let job = JobPaths::at(directory.join("job"));
    unmount(&job);
    let _ = env::set_current_dir("/").and_then(|()| fs::remove_dir_all(directory));
    result
}
