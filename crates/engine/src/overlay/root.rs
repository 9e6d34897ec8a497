//! The root file system of a job: a writable layer over an image.
//!
//! The files of the image belong to the owner of its directory. An id-mapped mount gives them to
//! the job's user, so the job may change them all; an overlay keeps the changes apart. Nothing
//! writes to the image. The layer is on the disk of the run's directory, or in memory where that
//! file system cannot hold such a layer.

use std::{
    env,
    fs::{self, File, Permissions},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{
    At, Attributes, Ids, OverlayError,
    beneath::{Beneath, Kind},
    directory, disk, enter_pid1, ids_of, mapping, set_attributes, users,
    workspace::mount_or_copy_workspace,
};
use crate::{
    error::describe,
    store::{RANGE_IDS, host_lines, look_up, remove_tree},
    unit::{JobPaths, NIX_STORE, RootPaths, RootSpec},
    within::{self, SHELLS},
};

/// The files of a root file system that list its users and groups, each with the lines that it has
/// if the image lacks it.
const PASSWD: (&str, &str) = (
    "/etc/passwd",
    "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
);
const GROUP: (&str, &str) = ("/etc/group", "root:x:0:\nnogroup:x:65534:\n");
/// The directory of these files.
const ETC: &str = "/etc";
/// The settings of the resolver (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";
/// The names of hosts without a server (hosts(5)), and the lines that it has if the image lacks it.
const HOSTS: (&str, &str) = ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
/// The directory by which systemd-nspawn knows a root file system.
const USR: &str = "/usr";
/// The directories of temporary files, and their mode.
const TMP: [&str; 2] = ["/tmp", "/var/tmp"];
const TMP_MODE: u32 = 0o1777;
/// The most directories of one job that are put aside.
const ASIDE_MAX: u32 = 1000;
/// The most bytes of a file that is read.
const READ_MAX: u64 = 1 << 20;

/// Mounts the root file system of the job whose unit is being started, and the job's workspace.
/// If that fails, a file holds the reason for the supervisor.
pub(super) fn mount_for_job(paths: &RootPaths) -> Result<(), OverlayError> {
    enter_pid1()?;
    let made = read(paths).and_then(|spec| make(paths, &spec, env::var("USER").ok()).map(drop));
    if let Err(error) = &made {
        record(paths, error)?;
    }
    made
}

/// Reads how to mount a root file system.
pub(super) fn read(paths: &RootPaths) -> Result<RootSpec, OverlayError> {
    let action = "read how to mount the root file system";
    let text = fs::read(paths.spec()).at(action)?;
    serde_json::from_slice(&text)
        .map_err(io::Error::from)
        .at(action)
}

/// Records for the supervisor why there is no root file system.
pub(super) fn record(paths: &RootPaths, error: &OverlayError) -> Result<(), OverlayError> {
    fs::write(paths.error(), describe(error)).at("record why there is no root file system")
}

/// Mounts a root file system for this user. Returns the ids of the user.
pub(super) fn make(
    paths: &RootPaths,
    spec: &RootSpec,
    user: Option<String>,
) -> Result<Ids, OverlayError> {
    let ids = ids_of(user.as_deref())?;
    let image = &spec.image;
    let stands_for = match &spec.user {
        None => None,
        Some(text) => {
            let image = Beneath::open(image).at(format!("open `{}`", image.display()))?;
            users::ids_in(&image, text)?
        }
    };
    let has_range = spec.nspawn.as_ref().is_some_and(|own| own.private_users);
    let owner = mount_root(paths, spec, ids, stands_for, has_range)?;
    let root = Beneath::open(&paths.tree()).at("open the root file system")?;
    let root = Filled { root, ids, owner };
    let links = within::links_into_host_store(&paths.tree()).at("list the root file system")?;
    let is_in_store = |path: &str| within::is_in_host_store(&paths.tree(), Path::new(path));
    if spec.needs_store || !links.is_empty() || SHELLS.into_iter().any(is_in_store) {
        root.show_store()?;
    }
    if links.iter().any(|path| path == Path::new(ETC)) {
        root.unfold(Path::new(ETC))?;
    }
    if spec.nspawn.is_some() {
        root.fit_for_nspawn()?;
    }
    // With a range of ids, all users of the image exist, and no other one.
    if let Some(other) = stands_for.filter(|_| !has_range) {
        root.renumber(other)?;
    }
    if let Some(user) = user.filter(|_| ids.user != 0 && !has_range) {
        root.add_user(&user, &spec.home)?;
    }
    if spec.uses_network {
        root.add_resolver()?;
    }
    if !root.root.exists(HOSTS.0) {
        root.write(HOSTS.0, HOSTS.1.as_bytes())?;
    }
    if !spec.hosts.is_empty() {
        let mut text = root.read(HOSTS.0, HOSTS.1)?;
        let lines = host_lines(&text, &spec.hosts);
        text.extend_from_slice(lines.as_bytes());
        root.write(HOSTS.0, &text)?;
    }
    for bind in &spec.binds {
        root.bind(&bind.source, bind.target(), bind.read_only)?;
    }
    let ids = match stands_for.filter(|_| has_range) {
        None => ids,
        Some(other) => Ids {
            user: ids.user + other.user,
            group: ids.group + other.group,
        },
    };
    if spec.mounts_workspace {
        mount_or_copy_workspace(&JobPaths::at(spec.job.clone()), || Ok(ids))?;
    }
    Ok(ids)
}

/// Unmounts a job's root file system, and puts its files aside. Returns their directory, which the
/// caller removes: that takes long where a job has written many files. The job may be started again
/// meanwhile.
#[must_use]
pub fn unmount_root(paths: &RootPaths) -> Option<PathBuf> {
    if !paths.path().exists() {
        return None;
    }
    // Binds of the host's directories are below the tree. Nothing is removed where one may be left.
    let mounts = [paths.tree(), paths.image(), paths.layer()];
    let left = mounts.iter().filter(|path| !unmount_all(path)).count();
    if left > 0 {
        return None;
    }
    put_aside(paths.path())
}

/// Renames a directory to a name that no job has. Returns its path. If it cannot be renamed, it is
/// removed here: the job may be started again afterwards.
fn put_aside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name().unwrap_or_default().display();
    // A killed supervisor may have left directories.
    let names = (0..ASIDE_MAX).map(|number| path.with_file_name(format!(".{name}.{number}")));
    let aside = names
        .into_iter()
        .find(|aside| !aside.exists() && fs::rename(path, aside).is_ok());
    if aside.is_none() {
        // Files that cannot be removed go with the run.
        let _ = remove_tree(path);
    }
    aside
}

/// Unmounts all that is mounted on a path. Returns whether nothing is left.
fn unmount_all(path: &Path) -> bool {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted.
            Err(Errno::EINVAL | Errno::ENOENT) => return true,
            Err(_) => return false,
        }
    }
}

/// Mounts the image with a writable layer for a job of this user, who gets the files of another
/// one: of the given one, or of the owner of the image's directory. With a range of ids, the user
/// with the first id gets the files of that owner, and the further ones get those of the image's
/// other users. Returns the owner of the root directory.
fn mount_root(
    paths: &RootPaths,
    spec: &RootSpec,
    ids: Ids,
    stands_for: Option<Ids>,
    has_range: bool,
) -> Result<Ids, OverlayError> {
    for path in [paths.image(), paths.layer(), paths.tree()] {
        directory(&path, 0o755)?;
    }
    let image = &spec.image;
    let view = match &spec.file_system {
        Some(file_system) => disk::open(image, file_system)?,
        None => open_tree(
            CWD,
            image,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .at(format!("take `{}` as a mount", image.display()))?,
    };
    let meta = File::from(view.try_clone().at("open the image")?)
        .metadata()
        .at(format!("find the image `{}`", image.display()))?;
    let owner = Ids {
        user: meta.uid(),
        group: meta.gid(),
    };
    let (from, owner) = match stands_for {
        Some(other) if !has_range => (other, owner),
        _ => (owner, ids),
    };
    let given = if has_range {
        give_range(&view, from, ids)
    } else {
        give_image(&view, from, ids)
    };
    given.at(format!(
        "give the files of the image `{}` to the job (its file system must allow id-mapped mounts, as ext4, XFS, btrfs, squashfs, erofs and tmpfs do)",
        image.display()
    ))?;
    move_mount(
        view,
        "",
        CWD,
        paths.image(),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at("mount the image")?;
    let mode = meta.permissions().mode() | 0o555;
    let on_disk = make_layer(paths, mode, owner).and_then(|()| mount_overlay(paths));
    on_disk.or_else(|error| {
        // The file system of the run's directory cannot hold such a layer (overlayfs, NFS).
        let cannot = [libc::EINVAL, libc::EOPNOTSUPP].map(Some);
        if !cannot.contains(&error.source.raw_os_error()) {
            return Err(error);
        }
        mount(
            Some("nixactions"),
            &paths.layer(),
            Some("tmpfs"),
            MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
            Some("mode=755"),
        )
        .at("make a layer in memory")?;
        make_layer(paths, mode, owner)?;
        mount_overlay(paths)
    })?;
    Ok(owner)
}

/// Gives the files of the image's owner to the job's user, and makes the mount read-only. All other
/// files keep their owners.
fn give_image(view: impl AsFd, owner: Ids, ids: Ids) -> io::Result<()> {
    if owner == ids {
        return set_attributes(view, Attributes::READ_ONLY, None);
    }
    let all = (map(owner.user, ids.user), map(owner.group, ids.group));
    // In a user namespace, not all ids exist.
    let few = (
        format!("{} {} 1", owner.user, ids.user),
        format!("{} {} 1", owner.group, ids.group),
    );
    let namespace = mapping(&all.0, &all.1).or_else(|_| mapping(&few.0, &few.1));
    let namespace: OwnedFd = namespace.map_err(|error| error.source)?;
    set_attributes(view, Attributes::READ_ONLY, Some(&namespace))
}

/// Gives the files of all users of an image to a range of ids, and makes the mount read-only.
fn give_range(view: impl AsFd, owner: Ids, first: Ids) -> io::Result<()> {
    let maps = [
        shift(owner.user, first.user),
        shift(owner.group, first.group),
    ];
    let namespace = mapping(&maps[0], &maps[1]).map_err(|error| error.source)?;
    set_attributes(view, Attributes::READ_ONLY, Some(&namespace))
}

/// Returns a mapping (user_namespaces(7)) that turns the ids of an image into a range of ids. The
/// owner of the image becomes the first one, as its root user is where a user unpacked it.
fn shift(owner: u32, first: u32) -> String {
    let lines = |from: u32, end: u32| {
        (from < end).then(|| format!("{from} {} {}\n", first + from, end - from))
    };
    match owner {
        0 => format!("0 {first} {RANGE_IDS}\n"),
        owner if owner < RANGE_IDS => {
            let rest = [lines(1, owner), lines(owner + 1, RANGE_IDS)];
            let rest: String = rest.into_iter().flatten().collect();
            format!("{owner} {first} 1\n0 {} 1\n{rest}", first + owner)
        }
        owner => {
            let rest = lines(1, RANGE_IDS).unwrap_or_default();
            format!("{owner} {first} 1\n{rest}")
        }
    }
}

/// Returns a mapping (user_namespaces(7)) that turns one id into another, and leaves all others.
fn map(from: u32, to: u32) -> String {
    let (low, high) = (from.min(to), from.max(to));
    let same =
        |first: u32, end: u32| (first < end).then(|| format!("{first} {first} {}\n", end - first));
    let lines = [
        same(0, low),
        same(low.saturating_add(1), high),
        same(high.saturating_add(1), u32::MAX),
        Some(format!("{from} {to} 1\n")),
    ];
    lines.into_iter().flatten().collect()
}

fn make_layer(paths: &RootPaths, mode: u32, owner: Ids) -> Result<(), OverlayError> {
    directory(&paths.changes(), mode & 0o7777)?;
    directory(&paths.work(), 0o700)?;
    chown(paths.changes(), Some(owner.user), Some(owner.group)).at("give the layer to its owner")
}

fn mount_overlay(paths: &RootPaths) -> Result<(), OverlayError> {
    // The paths are relative, since some characters have a meaning in mount options.
    env::set_current_dir(paths.path()).at(format!("go to `{}`", paths.path().display()))?;
    mount(
        Some("nixactions"),
        &paths.tree(),
        Some("overlay"),
        MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
        Some("lowerdir=image,upperdir=layer/changes,workdir=layer/work,redirect_dir=on,index=off,metacopy=off,volatile"),
    )
    .at("mount a writable layer over the image")
}

/// A mounted root file system, the job's user, and the owner of the root directory.
struct Filled {
    root: Beneath,
    ids: Ids,
    owner: Ids,
}

impl Filled {
    /// Gives the ids of the job's user to the user of the image whom it stands for.
    fn renumber(&self, other: Ids) -> Result<(), OverlayError> {
        for ((path, missing), is_users) in [(PASSWD, true), (GROUP, false)] {
            let text = self.read(path, missing)?;
            self.write(path, &users::renumber(&text, other, self.ids, is_users))?;
        }
        Ok(())
    }

    /// Makes the directories without which systemd-nspawn takes no root file system, and those that
    /// a unit would have of its own (`PrivateTmp=`).
    fn fit_for_nspawn(&self) -> Result<(), OverlayError> {
        let owner = (self.owner.user, self.owner.group);
        for path in [USR, TMP[0], TMP[1]] {
            let action = || format!("make `{path}` in the root file system");
            let place = self.root.place(Path::new(path), Kind::Directory, owner);
            let place = place.at(action())?;
            if TMP.contains(&path) {
                // The descriptor only names the directory; chmod(2) needs a path.
                let path = format!("/proc/self/fd/{}", place.as_raw_fd());
                let mode = fs::metadata(&path).at(action())?.permissions().mode() & 0o7777;
                if mode != TMP_MODE {
                    fs::set_permissions(&path, Permissions::from_mode(TMP_MODE)).at(action())?;
                }
            }
        }
        Ok(())
    }

    /// Shows the host's Nix store, read-only. A store of the image's own stays beside it: the names
    /// of its files depend on their content, so no two files with one name differ.
    fn show_store(&self) -> Result<(), OverlayError> {
        let store = Path::new(NIX_STORE);
        if self.root.is_empty(store) {
            return self.bind(store, store, true);
        }
        let action = "show the host's Nix store beside the image's";
        let owner = (self.owner.user, self.owner.group);
        let place = self.root.place(store, Kind::Directory, owner).at(action)?;
        // The image may have a link on the way to it.
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        mount(
            Some("nixactions"),
            path.as_str(),
            Some("overlay"),
            MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
            Some(format!("lowerdir={path}:{NIX_STORE}").as_str()),
        )
        .at(action)
    }

    /// Makes a directory in the place of a link to one, with links to all that it has. Files can be
    /// added to it.
    fn unfold(&self, path: &Path) -> Result<(), OverlayError> {
        self.root
            .unfold(path, (self.owner.user, self.owner.group))
            .at(format!("make a directory of the link `{}`", path.display()))
    }

    /// Lists the job's user among the users of the root file system.
    fn add_user(&self, name: &str, home: &Path) -> Result<(), OverlayError> {
        let shell = if self.root.exists("/bin/bash") {
            "/bin/bash"
        } else {
            "/bin/sh"
        };
        let Ids { user, group } = self.ids;
        let home = home.display();
        self.add_line(
            PASSWD,
            name,
            &format!("{name}:x:{user}:{group}::{home}:{shell}\n"),
        )?;
        self.add_line(GROUP, name, &format!("{name}:x:{group}:\n"))
    }

    fn add_line(
        &self,
        (path, missing): (&str, &str),
        name: &str,
        line: &str,
    ) -> Result<(), OverlayError> {
        let mut text = self.read(path, missing)?;
        let start = format!("{name}:");
        if text
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(start.as_bytes()))
        {
            return Ok(());
        }
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(line.as_bytes());
        self.write(path, &text)
    }

    /// Gives the root file system the host's resolver, whose network it uses.
    fn add_resolver(&self) -> Result<(), OverlayError> {
        match fs::read(RESOLVER) {
            Ok(text) => self.write(RESOLVER, &text),
            // The host resolves no names either.
            Err(_) => Ok(()),
        }
    }

    /// Returns the content of a file, or `missing` if the file does not exist.
    fn read(&self, path: &str, missing: &str) -> Result<Vec<u8>, OverlayError> {
        match self.root.read(path, READ_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(missing.into()),
            other => other.at(format!("read `{path}` of the root file system")),
        }
    }

    fn write(&self, path: &str, text: &[u8]) -> Result<(), OverlayError> {
        self.root
            .write(path, text, (self.owner.user, self.owner.group))
            .at(format!("write `{path}` of the root file system"))
    }

    /// Binds a file or directory of the host.
    fn bind(&self, source: &Path, target: &Path, read_only: bool) -> Result<(), OverlayError> {
        let action = || format!("bind `{}` to `{}`", source.display(), target.display());
        let opened = open_source(source).at(action())?;
        let stat = fstat(&opened).map_err(io::Error::from).at(action())?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            _ => Kind::File,
        };
        let view = open_tree(
            &opened,
            "",
            OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH
                | OpenTreeFlags::AT_RECURSIVE,
        )
        .at(action())?;
        let attributes = if read_only {
            Attributes::READ_ONLY
        } else {
            Attributes::NONE
        };
        set_attributes(&view, attributes.harmless().recursive(), None).at(action())?;
        let place = self
            .root
            .place(target, kind, (self.owner.user, self.owner.group))
            .at(action())?;
        move_mount(
            view,
            "",
            place,
            "",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )
        .at(action())
    }
}

/// Opens a file or directory of the host. A link that another user than root may change may only
/// lead to files of that user. The descriptor that this returns was checked, so no other file can
/// take its place.
fn open_source(source: &Path) -> io::Result<OwnedFd> {
    let found = look_up(source)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_SYMLINKS;
    let opened = openat2(CWD, &found.end, flags, Mode::empty(), links)?;
    let owner = fstat(&opened)?.st_uid;
    match found.owners.iter().find(|user| **user != 0) {
        Some(user) if *user != owner => Err(io::Error::other(format!(
            "it leads through a link of user {user} to `{}`, which belongs to user {owner}",
            found.end.display()
        ))),
        _ => Ok(opened),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_job_are_put_aside_so_that_it_may_start_again() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join("j");
        let mut seen = Vec::new();
        for _ in 0..3 {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), "").unwrap();
            let aside = put_aside(&path).unwrap();
            assert!(!path.exists() && aside.join("file").exists());
            seen.push(aside);
        }
        seen.dedup();
        assert_eq!(seen.len(), 3, "{seen:?}");
        // Without a free name, the caller gets no path of a job that may have begun again.
        for number in 0..ASIDE_MAX {
            fs::create_dir_all(run.path().join(format!(".j.{number}"))).unwrap();
        }
        fs::create_dir(&path).unwrap();
        assert_eq!(put_aside(&path), None);
        assert!(!path.exists());
    }

    #[test]
    fn a_range_gives_the_first_id_the_files_of_the_images_owner() {
        assert_eq!(shift(0, 1_000_000), "0 1000000 65536\n");
        assert_eq!(
            shift(1000, 1_000_000),
            "1000 1000000 1\n0 1001000 1\n1 1000001 999\n1001 1001001 64535\n"
        );
        assert_eq!(
            shift(65_535, 1_000_000),
            "65535 1000000 1\n0 1065535 1\n1 1000001 65534\n"
        );
        assert_eq!(
            shift(200_000, 1_000_000),
            "200000 1000000 1\n1 1000001 65535\n"
        );
    }

    #[test]
    fn a_mapping_turns_one_id_into_another_and_leaves_the_others() {
        assert_eq!(
            map(0, 61200),
            "1 1 61199\n61201 61201 4294906094\n0 61200 1\n"
        );
        assert_eq!(
            map(1000, 5),
            "0 0 5\n6 6 994\n1001 1001 4294966294\n1000 5 1\n"
        );
        assert_eq!(map(0, 1), "2 2 4294967293\n0 1 1\n");
    }
}
