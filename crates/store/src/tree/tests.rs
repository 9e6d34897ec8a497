//! Tests that copies of trees are complete and never leave their root.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    os::fd::AsFd as _,
    os::unix::{
        ffi::OsStringExt,
        fs::{FileExt, MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

use super::{Allowed, Copied, ModePolicy, Modes, StoreError, TreeCopy, make_beneath};

/// Two directories beside each other.
struct Dirs {
    dir: TempDir,
}

impl Dirs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        ["from", "to", "back"]
            .into_iter()
            .for_each(|name| fs::create_dir(dir.path().join(name)).unwrap());
        Self { dir }
    }

    fn from(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("from").join(path)
    }

    fn to(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("to").join(path)
    }

    fn write(&self, path: &str, mode: u32) {
        let path = self.from(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn copy(&self, modes: ModePolicy<'_>) -> Copied {
        TreeCopy::new(&self.from(""), &self.to(""), modes)
            .all()
            .unwrap()
    }
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn an_opened_tree_is_restored_with_its_real_modes() {
    let dirs = Dirs::new();
    dirs.write("a/b/secret", 0o600);
    dirs.write("a/tool", 0o755);
    dirs.write("a/closed", 0o400);
    dirs.write("a/setuid", 0o755);
    // If a sandbox forbids it (`RestrictSUIDSGID=`), this test cannot make such a file.
    let _ = fs::set_permissions(dirs.from("a/setuid"), Permissions::from_mode(0o4755));
    symlink("/nowhere", dirs.from("a/link")).unwrap();
    fs::set_permissions(dirs.from("a/b"), Permissions::from_mode(0o500)).unwrap();
    let (from, to) = (dirs.from(""), dirs.to(""));
    let opened = TreeCopy::new(&from, &to, ModePolicy::Open);
    let modes = opened.one(Path::new("a")).unwrap().unwrap().modes;
    assert_eq!(mode(dirs.to("a/b/secret")), 0o644);
    assert_eq!(mode(dirs.to("a/b")), 0o555);
    assert_eq!(mode(dirs.to("a/closed")), 0o444);
    let modes: Modes = serde_json::from_str(&serde_json::to_string(&modes).unwrap()).unwrap();
    let back = dirs.dir.path().join("back");
    TreeCopy::new(&dirs.to(""), &back, ModePolicy::Restore(&modes))
        .all()
        .unwrap();
    let restored =
        ["a/b/secret", "a/b", "a/tool", "a/closed", "a/setuid"].map(|path| mode(back.join(path)));
    assert_eq!(restored, [0o600, 0o500, 0o755, 0o400, 0o755]);
    assert_eq!(
        fs::read_link(back.join("a/link")).unwrap(),
        Path::new("/nowhere")
    );
    for path in ["a/tool", "a/b"] {
        let time = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(back.join(path)), time(dirs.from(path)), "{path}");
    }
}

#[test]
fn hard_links_stay_one_file() {
    let dirs = Dirs::new();
    dirs.write("a/one", 0o640);
    dirs.write("single", 0o644);
    fs::create_dir(dirs.from("b")).unwrap();
    fs::hard_link(dirs.from("a/one"), dirs.from("b/two")).unwrap();
    fs::hard_link(dirs.from("a/one"), dirs.from("three")).unwrap();
    dirs.copy(ModePolicy::Keep);
    let inode = |path: &str| fs::metadata(dirs.to(path)).unwrap().ino();
    assert_eq!(
        (inode("b/two"), inode("three")),
        (inode("a/one"), inode("a/one"))
    );
    assert_ne!(inode("single"), inode("a/one"));
    assert_eq!(fs::metadata(dirs.to("three")).unwrap().nlink(), 3);
}

#[test]
fn holes_stay_holes() {
    const SIZE: u64 = 64 << 20;
    let dirs = Dirs::new();
    let file = File::create(dirs.from("sparse")).unwrap();
    file.set_len(SIZE).unwrap();
    for at in [0, 20 << 20, SIZE - 7] {
        file.write_all_at(b"content", at).unwrap();
    }
    File::create(dirs.from("hole"))
        .unwrap()
        .set_len(SIZE)
        .unwrap();
    dirs.copy(ModePolicy::Keep);
    assert!(fs::read(dirs.from("sparse")).unwrap() == fs::read(dirs.to("sparse")).unwrap());
    for name in ["sparse", "hole"] {
        let meta = fs::metadata(dirs.to(name)).unwrap();
        assert_eq!(meta.len(), SIZE, "{name}");
        assert!(
            meta.blocks() * 512 < 4 << 20,
            "{name} takes {} blocks",
            meta.blocks()
        );
    }
}

#[test]
fn odd_names_and_empty_directories_survive() {
    let dirs = Dirs::new();
    let mut names: Vec<OsString> = [
        "-rf",
        "line\nfeed",
        " ",
        "\u{1b}[31m",
        "a%41",
        "\\",
        "*",
        "~",
        ".hidden",
    ]
    .map(OsString::from)
    .into();
    names.push(OsString::from_vec(b"not utf-8 \xff\xfe".to_vec()));
    names.push("x".repeat(255).into());
    for name in &names {
        fs::create_dir_all(dirs.from(name).join("empty")).unwrap();
        fs::write(dirs.from(name).join(name), name.as_encoded_bytes()).unwrap();
        fs::set_permissions(dirs.from(name).join(name), Permissions::from_mode(0o600)).unwrap();
    }
    let modes = dirs.copy(ModePolicy::Open).modes;
    for name in &names {
        assert_eq!(
            fs::read(dirs.to(name).join(name)).unwrap(),
            name.as_encoded_bytes()
        );
        assert_eq!(
            fs::read_dir(dirs.to(name).join("empty")).unwrap().count(),
            0
        );
        assert_eq!(
            modes.0.get(&Path::new(name).join(name)),
            Some(&0o600),
            "{name:?}"
        );
    }
    assert_eq!(fs::read_dir(dirs.to("")).unwrap().count(), names.len());
}

#[test]
fn large_trees_are_copied_whole() {
    let dirs = Dirs::new();
    for directory in 0..20 {
        for file in 0..60 {
            dirs.write(&format!("d{directory}/deep/er/f{file}"), 0o644);
        }
    }
    (0..1000).for_each(|file| dirs.write(&format!("wide/f{file}"), 0o644));
    fs::write(dirs.from("large"), vec![7; 3 << 20]).unwrap();
    let copied = dirs.copy(ModePolicy::Keep);
    assert_eq!(copied.entries, 20 * 60 + 20 * 3 + 1000 + 1 + 1);
    let output = std::process::Command::new("diff")
        .arg("-r")
        .arg(dirs.from(""))
        .arg(dirs.to(""))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn special_files_are_left_out_and_named() {
    let dirs = Dirs::new();
    dirs.write("d/file", 0o644);
    mkfifo(&dirs.from("d/pipe"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(dirs.from("d/socket")).unwrap();
    let copied = dirs.copy(ModePolicy::Keep);
    assert_eq!(
        copied.skipped,
        [
            (PathBuf::from("d/pipe"), "a named pipe"),
            (PathBuf::from("d/socket"), "a socket")
        ]
    );
    assert_eq!(fs::read_dir(dirs.to("d")).unwrap().count(), 1);
    let (from, to) = (dirs.from(""), dirs.to(""));
    let copy = TreeCopy::new(&from, &to, ModePolicy::Keep);
    let error = copy.one(Path::new("d/pipe")).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Special {
                kind: "a named pipe",
                ..
            }
        ),
        "{error}"
    );
    assert!(copy.one(Path::new("d/nothing")).unwrap().is_none());
    assert!(copy.one(Path::new("nothing/at/all")).unwrap().is_none());
    assert!(copy.one(Path::new("d/file/below")).unwrap().is_none());
}

#[test]
fn no_link_is_followed_on_either_side() {
    let dirs = Dirs::new();
    let outside = dirs.dir.path().join("back");
    fs::write(outside.join("secret"), "secret").unwrap();
    dirs.write("real/secret", 0o644);
    symlink(&outside, dirs.from("link")).unwrap();
    let (from, to) = (dirs.from(""), dirs.to(""));
    let copy = TreeCopy::new(&from, &to, ModePolicy::Keep);
    assert!(matches!(
        copy.one(Path::new("link/secret")),
        Err(StoreError::ThroughLink { .. })
    ));
    // The copy replaces a file or link in the place of a file. It refuses a link in the place of a
    // directory.
    symlink(outside.join("victim"), dirs.to("file")).unwrap();
    dirs.write("file", 0o644);
    copy.one(Path::new("file")).unwrap();
    assert!(fs::symlink_metadata(dirs.to("file")).unwrap().is_file());
    symlink(&outside, dirs.to("real")).unwrap();
    assert!(matches!(
        copy.one(Path::new("real/secret")),
        Err(StoreError::ThroughLink { .. })
    ));
    assert!(matches!(
        copy.one(Path::new("real")),
        Err(StoreError::ThroughLink { .. })
    ));
    assert!(matches!(
        make_beneath(&dirs.to(""), Path::new("real/new")),
        Err(StoreError::ThroughLink { .. })
    ));
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
}

#[test]
fn a_directory_that_becomes_a_link_is_not_followed() {
    let dirs = Dirs::new();
    let outside = dirs.dir.path().join("back");
    fs::write(outside.join("secret"), "secret").unwrap();
    (0..3).for_each(|file| dirs.write(&format!("d/f{file}"), 0o644));
    symlink(&outside, dirs.from("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (from, link) = (dirs.from("d"), dirs.from("link"));
                let exchange = || {
                    rustix::fs::renameat_with(
                        rustix::fs::CWD,
                        &from,
                        rustix::fs::CWD,
                        &link,
                        rustix::fs::RenameFlags::EXCHANGE,
                    )
                };
                exchange().unwrap();
            }
        });
        let (mut whole, mut refused) = (0, 0);
        for _ in 0..100_000 {
            if whole >= 20 && refused >= 20 {
                break;
            }
            let to = tempfile::tempdir().unwrap();
            let from = dirs.from("");
            let copy = TreeCopy::new(&from, to.path(), ModePolicy::Keep);
            match copy.one(Path::new("d/secret")) {
                Ok(None) => whole += 1,
                Err(StoreError::ThroughLink { .. }) => refused += 1,
                other => panic!("{other:?}"),
            }
            // The entry was a link and was copied as one.
            let _ = copy.one(Path::new("d"));
            assert!(!to.path().join("d/secret").exists() || to.path().join("d").is_symlink());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(
            whole > 0 && refused > 0,
            "{whole} times a directory, {refused} times a link"
        );
    });
}

#[test]
fn files_to_take_are_renamed_instead_of_copied() {
    let dirs = Dirs::new();
    dirs.write("dist/a/large", 0o600);
    dirs.write("dist/tool", 0o755);
    fs::hard_link(dirs.from("dist/tool"), dirs.from("dist/same")).unwrap();
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    let before = ["dist/a/large", "dist/tool"].map(|path| inode(dirs.from(path)));
    let (from, to) = (dirs.from(""), dirs.to(""));
    let copy = TreeCopy {
        take_from: Some(&from),
        ..TreeCopy::new(&from, &to, ModePolicy::Open)
    };
    let copied = copy.one(Path::new("dist")).unwrap().unwrap();
    assert_eq!(
        ["dist/a/large", "dist/tool"].map(|path| inode(dirs.to(path))),
        before
    );
    assert_eq!(inode(dirs.to("dist/same")), inode(dirs.to("dist/tool")));
    assert_eq!(
        (
            mode(dirs.to("dist/a/large")),
            copied.modes.0[Path::new("dist/a/large")]
        ),
        (0o644, 0o600)
    );
}

/// Nests directories in each other, each with one more beside it that holds a file.
fn nest(root: &Path, levels: usize, mode: u32) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut current = openat(CWD, root, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        for name in ["d", "leaf"] {
            mkdirat(&current, name, Mode::from_raw_mode(0o755)).unwrap();
        }
        let leaf = openat(&current, "leaf", flags, Mode::empty()).unwrap();
        let create = OFlags::CREATE | OFlags::WRONLY;
        openat(&leaf, "file", create, Mode::from_raw_mode(0o644)).unwrap();
        current = openat(&current, "d", flags, Mode::empty()).unwrap();
    }
    rustix::fs::fchmod(&current, Mode::from_raw_mode(mode)).unwrap();
}

/// Returns how many levels deep a chain of directories is, and the mode of the last.
fn depth(root: &Path) -> (usize, u32) {
    use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut current = openat(CWD, root, flags, Mode::empty()).unwrap();
    let mut levels = 0;
    while let Ok(next) = openat(&current, "d", flags, Mode::empty()) {
        current = next;
        levels += 1;
    }
    (levels, fstat(&current).unwrap().st_mode & 0o7777)
}

/// The test runs itself again, with few descriptors and small stacks. A path to the deepest
/// directory would have 5,000 bytes, and the kernel takes 4,096.
#[test]
fn a_tree_deeper_than_descriptors_and_paths_reach_is_copied() {
    const LEVELS: usize = 2_500;
    const LIMITED: &str = "NIXACTIONS_TEST_LIMITED";
    if std::env::var_os(LIMITED).is_none() {
        let name = "tree::tests::a_tree_deeper_than_descriptors_and_paths_reach_is_copied";
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .envs([(LIMITED, "1"), ("RUST_MIN_STACK", "200000")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let dirs = Dirs::new();
    fs::create_dir(dirs.from("dist")).unwrap();
    nest(&dirs.from("dist"), LEVELS, 0o300);
    let (from, to) = (dirs.from(""), dirs.to(""));
    let opened = TreeCopy {
        take_from: Some(&from),
        unlock: true,
        ..TreeCopy::new(&from, &to, ModePolicy::Open)
    };
    let saved = opened.one(Path::new("dist")).unwrap().unwrap();
    assert_eq!(saved.entries as usize, 1 + 3 * LEVELS);
    assert_eq!(depth(&dirs.to("dist")), (LEVELS, 0o755));
    assert_eq!(
        depth(&dirs.from("dist")),
        (LEVELS, 0o300),
        "it is closed again"
    );
    let back = dirs.dir.path().join("back");
    TreeCopy::new(&to, &back, ModePolicy::Restore(&saved.modes))
        .all()
        .unwrap();
    assert_eq!(depth(&back.join("dist")), (LEVELS, 0o300));
    for name in ["from", "to", "back"] {
        crate::remove_tree(&dirs.dir.path().join(name)).unwrap();
    }
}

#[test]
fn a_directory_that_was_opened_before_is_copied_wherever_its_path_leads() {
    let dirs = Dirs::new();
    dirs.write("own", 0o644);
    let opened = fs::File::open(dirs.from("")).unwrap();
    fs::rename(dirs.from(""), dirs.dir.path().join("moved")).unwrap();
    fs::create_dir(dirs.from("")).unwrap();
    dirs.write("other", 0o644);
    let (from, to) = (dirs.from(""), dirs.to(""));
    let copy = TreeCopy {
        opened: Some(opened.as_fd()),
        ..TreeCopy::new(&from, &to, ModePolicy::Keep)
    };
    copy.all().unwrap();
    assert!(to.join("own").exists() && !to.join("other").exists());
}

#[test]
fn a_directory_to_leave_out_is_named_once() {
    let dirs = Dirs::new();
    for file in ["a/state/runs/file", "a/state/lock", "a/kept"] {
        fs::create_dir_all(dirs.from(file).parent().unwrap()).unwrap();
        dirs.write(file, 0o644);
    }
    let meta = fs::metadata(dirs.from("a/state")).unwrap();
    let (from, to) = (dirs.from(""), dirs.to(""));
    let copy = TreeCopy {
        without: Some((meta.dev(), meta.ino())),
        ..TreeCopy::new(&from, &to, ModePolicy::Keep)
    };
    let names = ["a/kept", "a/state/lock", "a/state/runs/file"].map(PathBuf::from);
    for copied in [copy.all().unwrap(), copy.named(&names).unwrap()] {
        let skipped: Vec<_> = copied.skipped.iter().map(|(path, _)| path).collect();
        assert_eq!(skipped, [Path::new("a/state")]);
        assert!(to.join("a/kept").exists() && !to.join("a/state").exists());
    }
}

#[test]
fn a_copy_holds_only_what_is_allowed() {
    if !crate::can_give_files_away() {
        eprintln!("skipped: only root of all user ids can make files of other users");
        return;
    }
    let dirs = Dirs::new();
    for (path, file, directory, owner, group) in [
        ("public/file", 0o644, 0o755, 7, 7),
        ("own/file", 0o600, 0o700, 5, 7),
        ("group/file", 0o640, 0o750, 7, 6),
        ("private/file", 0o640, 0o755, 7, 7),
        ("closed/file", 0o644, 0o750, 7, 7),
        ("listed/file", 0o644, 0o744, 7, 7),
        ("second/file", 0o600, 0o700, 4, 7),
    ] {
        dirs.write(path, file);
        let path = dirs.from(path);
        let above = path.parent().unwrap();
        fs::set_permissions(above, Permissions::from_mode(directory)).unwrap();
        for path in [&*path, above] {
            std::os::unix::fs::chown(path, Some(owner), Some(group)).unwrap();
        }
    }
    let of = |groups| Allowed::Of {
        users: [4, 5],
        groups,
    };
    for (allowed, withheld) in [
        (
            Some(of(Some([8, 6]))),
            &["closed", "listed", "private/file"][..],
        ),
        (
            Some(of(None)),
            &["closed", "group", "listed", "private/file"],
        ),
        (
            Some(Allowed::Public),
            &["closed", "group", "listed", "own", "private/file", "second"],
        ),
        (None, &[]),
    ] {
        let to = tempfile::tempdir().unwrap();
        let from = dirs.from("");
        let copy = TreeCopy {
            allowed,
            ..TreeCopy::new(&from, to.path(), ModePolicy::Open)
        };
        let files = [
            "closed", "group", "listed", "own", "private", "public", "second",
        ];
        let files = files.map(|name| Path::new(name).join("file"));
        for copied in [copy.all().unwrap(), copy.named(&files).unwrap()] {
            let expected: Vec<_> = withheld.iter().map(PathBuf::from).collect();
            assert_eq!(copied.withheld, expected, "{allowed:?}");
            for file in &files {
                let is_withheld = expected.iter().any(|path| file.starts_with(path));
                assert_eq!(to.path().join(file).exists(), !is_withheld, "{file:?}");
            }
        }
    }
}
