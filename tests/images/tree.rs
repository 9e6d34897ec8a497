//! Trees of files: random ones, and listings that tell all that an image keeps.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::Path,
    process::Command,
};

use nixactions_harness::CommandExt as _;

/// Returns a line for each file below a directory, by its path: its kind, mode, owner, time,
/// content and the first of its names.
pub fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut names = HashMap::new();
    list(root, root, &mut names, &mut found);
    found
}

fn list(
    root: &Path,
    path: &Path,
    names: &mut HashMap<u64, String>,
    found: &mut BTreeMap<String, String>,
) {
    let meta = fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
    let name = name.escape_ascii().to_string();
    let kind = meta.file_type();
    let content = if kind.is_symlink() {
        let target = fs::read_link(path).unwrap();
        format!("-> {}", target.as_os_str().as_bytes().escape_ascii())
    } else if kind.is_file() {
        let bytes = fs::read(path).unwrap();
        let sum = bytes.iter().fold(0_u64, |sum, byte| {
            sum.wrapping_mul(1_099_511_628_211)
                .wrapping_add(u64::from(*byte))
        });
        format!("{} bytes {sum:x}", bytes.len())
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        "/".to_owned()
    };
    let first = if kind.is_dir() {
        String::new()
    } else {
        format!(
            " as {}",
            names.entry(meta.ino()).or_insert_with(|| name.clone())
        )
    };
    // The mode of a link is the same everywhere, and no program can set its time.
    let (mode, time) = if kind.is_symlink() {
        (0, 0)
    } else {
        (meta.permissions().mode() & 0o7777, meta.mtime())
    };
    let attributes = attributes(path);
    found.insert(
        name,
        format!(
            "{content} {mode:o} {}:{} {time}{first}{attributes}",
            meta.uid(),
            meta.gid()
        ),
    );
    if kind.is_dir() {
        let mut children: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        children.sort();
        for child in children {
            list(root, &child, names, found);
        }
    }
}

/// Returns the extended attributes of users that a file has.
fn attributes(path: &Path) -> String {
    let mut names = [0; 4096];
    let count = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found = String::new();
    for name in names[..count].split(|byte| *byte == 0) {
        if !name.starts_with(b"user.") {
            continue;
        }
        let mut value = [0; 256];
        let count = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or(0);
        let pair = (name.escape_ascii(), value[..count].escape_ascii());
        found.push_str(&format!(" {}={}", pair.0, pair.1));
    }
    found
}

/// A generator of numbers (SplitMix64), so that a failure comes again.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }
}

/// Fills a directory: files of all kinds and modes, owners if this is root, long and odd names.
pub fn random_tree(root: &Path, seed: u64, extended: bool) {
    let mut numbers = Numbers(seed);
    fs::create_dir_all(root).unwrap();
    let mut directories = vec![root.to_owned()];
    let mut files: Vec<std::path::PathBuf> = Vec::new();
    for i in 0..60 {
        let parent = directories[numbers.below(directories.len() as u64) as usize].clone();
        let name = match numbers.below(8) {
            0 if extended => format!("{}-{i}", "l".repeat(150)),
            1 => format!("\u{e9}\u{2014} {i}"),
            2 => format!(".hidden{i}"),
            3 => format!("a\\b*{i}"),
            _ => format!("n{i}"),
        };
        let path = parent.join(name);
        match numbers.below(9) {
            0 | 1 => {
                fs::create_dir(&path).unwrap();
                directories.push(path);
                continue;
            }
            2 => {
                let targets = ["n1", "../x", "/etc/passwd", "/", "dangling", "./.././a"];
                symlink(targets[numbers.below(6) as usize], &path).unwrap();
            }
            3 if !files.is_empty() => {
                let other = &files[numbers.below(files.len() as u64) as usize];
                fs::hard_link(other, &path).unwrap();
            }
            4 => {
                Command::new("mkfifo").arg(&path).ok();
                mode(&path, 0o640);
            }
            _ => {
                let sizes = [0, 1, 511, 512, 513, 100_000];
                let size = sizes[numbers.below(6) as usize];
                let bytes: Vec<u8> = (0..size).map(|_| numbers.next() as u8).collect();
                fs::write(&path, bytes).unwrap();
                own(&path, &mut numbers, extended);
                let modes = [0o644, 0o755, 0o600, 0o4755, 0o2711, 0o444, 0o000];
                mode(&path, modes[numbers.below(7) as usize]);
                if extended && numbers.below(4) == 0 {
                    let flags = rustix::fs::XattrFlags::empty();
                    // The file system may have none.
                    let _ = rustix::fs::lsetxattr(&path, "user.note", b"a value", flags);
                }
                files.push(path);
            }
        }
    }
    for directory in &directories[1..] {
        own(directory, &mut numbers, extended);
        let modes = [0o755, 0o700, 0o1777, 0o2775, 0o750];
        mode(directory, modes[numbers.below(5) as usize]);
    }
    // Times that are long over, also those of directories.
    let mut touch = Command::new("sh");
    touch.args([
        "-c",
        "find \"$1\" -depth -exec touch -hd '2015-03-04 05:06:07' {} +",
        "sh",
    ]);
    touch.arg(root).ok();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a file to random users. The numbers of `ustar` have seven octal digits at most.
fn own(path: &Path, numbers: &mut Numbers, extended: bool) {
    if nix::unistd::geteuid().is_root() {
        let ids = [
            0,
            1,
            1000,
            65534,
            if extended { 4_000_000 } else { 2_000_000 },
        ];
        let id = |numbers: &mut Numbers| ids[numbers.below(5) as usize];
        let (uid, gid) = (id(numbers), id(numbers));
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
    }
}
