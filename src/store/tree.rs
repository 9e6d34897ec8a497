//! Copies of file trees, for workspaces and artifacts.
//!
//! Copies share their blocks where the file system can (copy_file_range(2)); links are copied as links and never
//! followed. A copy that another user must read is *opened*: its modes let others read, and a manifest keeps the real ones.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::StoreError;

/// The modes of an opened tree that differ from what lies on disk, by path relative to the tree's root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Modes(pub BTreeMap<PathBuf, u32>);

/// How modes are treated by a copy.
#[derive(Debug)]
pub enum ModePolicy<'a> {
    /// As they are.
    Keep,
    /// Opened for others to read; the real ones go into the manifest.
    Open(&'a mut Modes),
    /// As the manifest says, else as they are.
    Restore(&'a Modes),
}

impl ModePolicy<'_> {
    fn mode(&mut self, relative: &Path, meta: &fs::Metadata) -> u32 {
        let real = meta.mode() & 0o7777;
        match self {
            Self::Keep => real,
            Self::Restore(modes) => modes.0.get(relative).copied().unwrap_or(real),
            Self::Open(modes) => {
                let readable = if meta.is_dir() || real & 0o100 != 0 { 0o555 } else { 0o444 };
                let opened = (real | readable) & 0o0777;
                if opened != real {
                    modes.0.insert(relative.to_owned(), real);
                }
                opened
            }
        }
    }
}

/// Copies one path (a file, a link, or a directory with all below it) from below `from` to the same place below `to`,
/// making the directories that lead there. Sockets, pipes and devices are left out.
///
/// # Errors
/// Fails at the first file that cannot be copied, with its path.
pub fn copy(from: &Path, to: &Path, relative: &Path, policy: &mut ModePolicy<'_>) -> Result<(), StoreError> {
    if let Some(parent) = relative.parent() {
        copy_parents(from, to, parent, policy)?;
    }
    copy_below(from, to, relative, policy)
}

/// Makes the directories of a relative path below `to`, with the modes they have below `from`.
///
/// # Errors
/// Fails at the first that cannot be made, or where a link or file is in the way.
pub fn copy_parents(from: &Path, to: &Path, relative: &Path, policy: &mut ModePolicy<'_>) -> Result<(), StoreError> {
    let mut part = PathBuf::new();
    for component in relative.components() {
        part.push(component);
        let target = to.join(&part);
        if fs::symlink_metadata(&target).is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        let source = from.join(&part);
        let meta = fs::symlink_metadata(&source).map_err(|error| StoreError::io("read", &source, error))?;
        make_directory(&target, policy.mode(&part, &meta))?;
    }
    Ok(())
}

fn copy_below(from: &Path, to: &Path, relative: &Path, policy: &mut ModePolicy<'_>) -> Result<(), StoreError> {
    let (source, target) = (from.join(relative), to.join(relative));
    let meta = fs::symlink_metadata(&source).map_err(|error| StoreError::io("read", &source, error))?;
    let kind = meta.file_type();
    if kind.is_symlink() {
        let link = fs::read_link(&source).map_err(|error| StoreError::io("read", &source, error))?;
        return match symlink(&link, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&target).and_then(|()| symlink(&link, &target)).map_err(|error| StoreError::io("link", &target, error))
            }
            other => other.map_err(|error| StoreError::io("link", &target, error)),
        };
    }
    if kind.is_dir() {
        let mode = policy.mode(relative, &meta);
        if !fs::symlink_metadata(&target).is_ok_and(|meta| meta.is_dir()) {
            make_directory(&target, 0o700 | mode)?;
        }
        let entries = fs::read_dir(&source).map_err(|error| StoreError::io("read", &source, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::io("read", &source, error))?;
            copy_below(from, to, &relative.join(entry.file_name()), policy)?;
        }
        return set_mode(&target, mode);
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        return Ok(());
    }
    copy_file(&source, &target, &meta, policy.mode(relative, &meta))
}

fn copy_file(source: &Path, target: &Path, meta: &fs::Metadata, mode: u32) -> Result<(), StoreError> {
    // A link in the way must not be written through.
    match fs::symlink_metadata(target) {
        Ok(there) if !there.is_dir() => fs::remove_file(target).map_err(|error| StoreError::io("replace", target, error))?,
        _ => {}
    }
    fs::copy(source, target).map_err(|error| StoreError::io("copy", source, error))?;
    let file = fs::File::options().write(true).open(target);
    if let (Ok(file), Ok(modified)) = (file, meta.modified()) {
        // Build tools compare times; a file system without them is no reason to fail.
        let _ = file.set_modified(modified);
    }
    set_mode(target, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| StoreError::io("set the mode of", path, error))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::DirBuilder::new().mode(mode).create(path).map_err(|error| StoreError::io("create", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opened_tree_is_restored_with_its_real_modes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, open, back) = (dir.path().join("from"), dir.path().join("open"), dir.path().join("back"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir_all(&open).unwrap();
        fs::create_dir_all(&back).unwrap();
        fs::write(from.join("a/b/secret"), "x").unwrap();
        fs::write(from.join("a/tool"), "y").unwrap();
        set_mode(&from.join("a/b/secret"), 0o600).unwrap();
        set_mode(&from.join("a/tool"), 0o755).unwrap();
        symlink("/nowhere", from.join("a/link")).unwrap();
        set_mode(&from.join("a/b"), 0o700).unwrap();
        let mut modes = Modes::default();
        copy(&from, &open, Path::new("a"), &mut ModePolicy::Open(&mut modes)).unwrap();
        let mode = |path: PathBuf| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(open.join("a/b/secret")), 0o644);
        assert_eq!(mode(open.join("a/b")), 0o755);
        copy(&open, &back, Path::new("a"), &mut ModePolicy::Restore(&modes)).unwrap();
        assert_eq!(mode(back.join("a/b/secret")), 0o600);
        assert_eq!(mode(back.join("a/b")), 0o700);
        assert_eq!(mode(back.join("a/tool")), 0o755);
        assert_eq!(fs::read_link(back.join("a/link")).unwrap(), Path::new("/nowhere"));
        let times = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(times(&back.join("a/tool")), times(&from.join("a/tool")));
    }
}
