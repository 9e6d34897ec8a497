//! Layers that want to write outside of their tree, and layers over each other.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::{Limits, Notes, Tree, Whiteouts};
use crate::{ImageError, Stop};

/// A layer that is being written.
#[derive(Default)]
struct Layer(Vec<u8>);

impl Layer {
    fn entry(mut self, kind: EntryType, name: &str, mode: u32, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        // The crate's own setters refuse some of these names.
        let bytes = header.as_mut_bytes();
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        if kind == EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        self.entry(EntryType::Regular, name, 0o644, "", text.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, 0o755, "", b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, 0o777, target, b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, 0o644, target, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A directory with a tree in it, and a file beside that no layer may touch.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.root()).unwrap();
        fs::create_dir(place.0.path().join("outside")).unwrap();
        fs::write(place.0.path().join("outside/file"), "outside").unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    /// Unpacks layers, and checks that nothing outside has changed.
    fn unpack(&self, layers: &[Vec<u8>], limits: Limits) -> Result<(u64, Notes), ImageError> {
        let mut tree = Tree::new(&self.root(), limits, Stop::default())?;
        let unpacked = layers
            .iter()
            .try_for_each(|layer| tree.add("the layer", layer.as_slice(), Whiteouts::Obeyed))
            .and_then(|()| tree.finish());
        let outside = self.0.path().join("outside");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "outside");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 2);
        unpacked
    }

    /// Unpacks layers that must be good, and returns the tree: a text for each path.
    fn tree(&self, layers: &[Vec<u8>]) -> BTreeMap<String, String> {
        self.unpack(layers, Limits::default()).unwrap();
        let mut found = BTreeMap::new();
        walk(&self.root(), "", &mut found);
        found
    }
}

fn walk(directory: &Path, above: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = format!("{above}{}", entry.file_name().display());
        let meta = fs::symlink_metadata(&path).unwrap();
        let text = if meta.is_dir() {
            walk(&path, &format!("{name}/"), found);
            "/".to_owned()
        } else if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else {
            fs::read_to_string(&path).unwrap()
        };
        found.insert(name, text);
    }
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into()
}

fn fault(layer: Vec<u8>) -> String {
    Place::new()
        .unpack(&[layer], Limits::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn names_that_lead_outside_are_refused() {
    for name in ["../x", "a/../../x", "..", "/../x"] {
        let told = fault(Layer::default().file(name, "x").end());
        assert!(told.contains("has `..` in its name"), "{name}: {told}");
    }
    // A slash at the start means the tree's root.
    let place = Place::new();
    let tree = place.tree(&[Layer::default().file("/etc/x", "x").end()]);
    assert_eq!(tree, texts([("etc", "/"), ("etc/x", "x")]));
}

#[test]
fn links_lead_to_where_they_lead_in_the_container() {
    let place = Place::new();
    let outside = place.0.path().join("outside").display().to_string();
    fs::create_dir_all(place.root().join(outside.trim_start_matches('/'))).unwrap();
    let layer = Layer::default()
        .link("absolute", &outside)
        .file("absolute/file", "in")
        .dir("outside")
        .link("relative", "../../../../outside")
        .file("relative/file", "in");
    let tree = place.tree(&[layer.end()]);
    let inner = format!("{}/file", outside.trim_start_matches('/'));
    assert_eq!(tree[&inner], "in");
    assert_eq!(tree["outside/file"], "in");
}

#[test]
fn a_link_that_leads_nowhere_holds_no_files() {
    let layer = Layer::default()
        .link("a", "/nowhere/at/all")
        .file("a/x", "x");
    let told = fault(layer.end());
    assert!(told.contains("below a link that leads nowhere"), "{told}");
    let layer = Layer::default().link("a", "a").file("a/x", "x");
    let told = fault(layer.end());
    assert!(
        told.contains("failed to open the directory of `a/x`"),
        "{told}"
    );
}

#[test]
fn a_file_replaces_a_link_and_is_not_written_through_it() {
    let place = Place::new();
    let target = place.0.path().join("outside/file").display().to_string();
    let layer = Layer::default()
        .link("a", &target)
        .file("a", "own")
        .link("b", &target)
        .entry(EntryType::Fifo, "b", 0o600, "", b"");
    place.unpack(&[layer.end()], Limits::default()).unwrap();
    assert_eq!(fs::read_to_string(place.root().join("a")).unwrap(), "own");
    assert!(!place.root().join("b").is_symlink());
}

#[test]
fn hard_links_stay_inside() {
    let place = Place::new();
    let outside = place.0.path().join("outside").display().to_string();
    for (layer, expected) in [
        (
            Layer::default()
                .link("d", &outside)
                .hard_link("a", "d/file"),
            "which is not there",
        ),
        (
            Layer::default().hard_link("a", "../outside/file"),
            "has `..` in its name",
        ),
        (
            Layer::default().hard_link("a", &format!("{outside}/file")),
            "which is not there",
        ),
        (Layer::default().hard_link("a", "b"), "which is not there"),
        (
            Layer::default().hard_link("a", ""),
            "is a link without a target",
        ),
        (
            Layer::default().dir("d").hard_link("a", "d"),
            "links to the directory `d`",
        ),
        (
            Layer::default().dir("d").hard_link("a", "/"),
            "which is not there",
        ),
    ] {
        let told = Place::new()
            .unpack(&[layer.end()], Limits::default())
            .unwrap_err();
        assert!(told.to_string().contains(expected), "{told}");
    }
    // A link to a link is another name of that link, and not of what it leads to.
    let layer = Layer::default()
        .link("l", &format!("{outside}/file"))
        .hard_link("m", "l")
        .file("f", "x")
        .hard_link("g", "/f")
        .hard_link("g", "f")
        .hard_link("f", "f");
    let tree = place.tree(&[layer.end()]);
    assert!(tree["m"].starts_with("-> "));
    let inode = |name: &str| fs::symlink_metadata(place.root().join(name)).unwrap().ino();
    assert_eq!(inode("f"), inode("g"));
    assert_eq!(inode("l"), inode("m"));
}

#[test]
fn whiteouts_stay_inside() {
    let place = Place::new();
    let outside = place.0.path().join("outside").display().to_string();
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        let told = fault(Layer::default().dir("a").file(name, "").end());
        assert!(told.contains("is a whiteout of no file"), "{name}: {told}");
    }
    let lower = Layer::default()
        .link("d", &outside)
        .link("e", "../../outside")
        .end();
    let upper = Layer::default()
        .file("d/.wh.file", "")
        .file("d/.wh..wh..opq", "")
        .file("e/.wh.file", "")
        .file("e/.wh..wh..opq", "")
        .file("absent/.wh.file", "")
        .file(".wh..wh.plnk", "");
    let tree = place.tree(&[lower, upper.end()]);
    assert_eq!(tree.len(), 2);
    // The link itself can be removed.
    let place = Place::new();
    let lower = Layer::default().link("d", &outside).end();
    assert!(
        place
            .tree(&[lower, Layer::default().file(".wh.d", "").end()])
            .is_empty()
    );
}

#[test]
fn whiteouts_below_a_file_that_replaces_their_directory_hide_nothing() {
    let lower = Layer::default().dir("d").file("d/old", "1").end();
    for upper in [
        Layer::default().file("d", "2").file("d/.wh.old", ""),
        Layer::default().file("d/.wh.old", "").file("d", "2"),
        Layer::default().file("d", "2").file("d/.wh..wh..opq", ""),
    ] {
        let tree = Place::new().tree(&[lower.clone(), upper.end()]);
        assert_eq!(tree, texts([("d", "2")]));
    }
}

#[test]
fn whiteouts_remove_the_layers_below_and_not_their_own() {
    let lower = || {
        Layer::default()
            .dir("d")
            .file("d/old", "1")
            .dir("d/sub")
            .file("d/sub/old", "1")
            .dir("e")
            .file("e/old", "1")
            .file("f", "1")
            .end()
    };
    let expected = texts([
        ("d", "/"),
        ("d/new", "2"),
        ("d/sub", "/"),
        ("d/sub/new", "2"),
        ("f", "2"),
    ]);
    // In either order of the whiteouts and the files.
    let first = Layer::default()
        .dir("d")
        .file("d/.wh..wh..opq", "")
        .file(".wh.e", "")
        .file(".wh.f", "")
        .file("d/new", "2")
        .file("d/sub/new", "2")
        .file("f", "2");
    assert_eq!(Place::new().tree(&[lower(), first.end()]), expected);
    let last = Layer::default()
        .file("f", "2")
        .dir("d")
        .file("d/new", "2")
        .dir("d/sub")
        .file("d/sub/new", "2")
        .file("d/.wh..wh..opq", "")
        .file(".wh.e", "")
        .file(".wh.f", "");
    assert_eq!(Place::new().tree(&[lower(), last.end()]), expected);
}

#[test]
fn kinds_of_files_replace_each_other() {
    let place = Place::new();
    let lower = Layer::default()
        .dir("dir")
        .file("dir/x", "1")
        .file("file", "1")
        .dir("real")
        .link("link", "real");
    let upper = Layer::default()
        .file("dir", "2")
        .dir("file")
        .file("file/x", "2")
        .dir("link")
        .file("link/x", "2");
    let tree = place.tree(&[lower.end(), upper.end()]);
    let expected = texts([
        ("dir", "2"),
        ("file", "/"),
        ("file/x", "2"),
        ("link", "/"),
        ("link/x", "2"),
        ("real", "/"),
    ]);
    assert_eq!(tree, expected);
}

#[test]
fn metadata_is_that_of_the_entry() {
    let place = Place::new();
    // The sandbox of a Nix build forbids set-user-ID files.
    let probe = tempfile::NamedTempFile::new().unwrap();
    let is_allowed = fs::set_permissions(probe.path(), fs::Permissions::from_mode(0o6755)).is_ok();
    let program = if is_allowed { 0o6755 } else { 0o755 };
    let layer = Layer::default()
        .entry(EntryType::Directory, ".", 0o711, "", b"")
        .entry(EntryType::Directory, "shut", 0o500, "", b"")
        .file("shut/file", "x")
        .entry(EntryType::Regular, "program", program, "", b"x")
        .entry(EntryType::Directory, "sticky", 0o1777, "", b"")
        .file("implied/file", "x");
    place.unpack(&[layer.end()], Limits::default()).unwrap();
    let meta = |name: &str| fs::symlink_metadata(place.root().join(name)).unwrap();
    let mode = |name: &str| meta(name).permissions().mode() & 0o7777;
    for (name, expected) in [
        ("", 0o711),
        ("shut", 0o500),
        ("program", program),
        ("sticky", 0o1777),
        ("implied", 0o755),
    ] {
        assert_eq!(mode(name), expected, "{name}");
    }
    for name in ["shut", "program", "shut/file"] {
        assert_eq!(meta(name).mtime(), 1_000_000_000, "{name}");
    }
}

#[test]
fn devices_are_left_out_with_a_note() {
    let place = Place::new();
    let layer = Layer::default()
        .entry(EntryType::Char, "null", 0o666, "", b"")
        .file("x", "");
    let (_, notes) = place.unpack(&[layer.end()], Limits::default()).unwrap();
    assert_eq!(notes.notes, ["device `null` was left out"]);
    assert!(!place.root().join("null").exists());
}

#[test]
fn sizes_and_numbers_are_bounded() {
    let refused = |layer: Vec<u8>, limits: Limits| {
        let place = Place::new();
        let error = place.unpack(&[layer], limits).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
        place
    };
    let limits = Limits {
        bytes: 10,
        entries: 3,
    };
    let layer = Layer::default().file("a", "123456").file("b", "123456");
    refused(layer.end(), limits);
    let layer = Layer::default()
        .file("a", "")
        .file("b", "")
        .file("c", "")
        .file("d", "");
    refused(layer.end(), limits);
    // Directories count, also those without an entry.
    refused(Layer::default().file("a/b/c/d", "").end(), limits);
    // The size in the header alone is enough.
    let mut header = Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(1 << 60);
    header.set_cksum();
    let place = refused(header.as_bytes().to_vec(), Limits::default());
    assert!(!place.root().join("huge").exists());
}

#[test]
fn an_archive_that_ends_in_a_file_is_broken() {
    let whole = Layer::default().file("a", &"x".repeat(5000)).end();
    for length in [600, 5000] {
        let place = Place::new();
        let error = place.unpack(&[whole[..length].to_vec()], Limits::default());
        error.unwrap_err();
    }
}

#[test]
fn attributes_that_an_overlay_obeys_are_left_out() {
    let place = Place::new();
    let mut builder = tar::Builder::new(Vec::new());
    let extensions: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.user.fine", b"yes"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/outside"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
    ];
    builder.append_pax_extensions(extensions).unwrap();
    let mut header = Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    builder.append_data(&mut header, "x", io::empty()).unwrap();
    let layer = builder.into_inner().unwrap();
    let (_, notes) = place.unpack(&[layer], Limits::default()).unwrap();
    let notes = notes.notes.join("\n");
    assert!(
        notes.contains("`trusted.overlay.redirect` of `x`"),
        "{notes}"
    );
    assert!(notes.contains("`user.overlay.opaque` of `x`"), "{notes}");
    let mut value = [0; 8];
    let get =
        |name: &str, value: &mut [u8]| rustix::fs::lgetxattr(place.root().join("x"), name, value);
    get("trusted.overlay.redirect", &mut value).unwrap_err();
    get("user.overlay.opaque", &mut value).unwrap_err();
    // The file system may take none at all. Then that is noted, too.
    if !notes.contains("user.fine") {
        assert_eq!(get("user.fine", &mut value), Ok(3));
    }
}

#[test]
fn a_reader_of_noise_never_writes_outside() {
    use proptest::prelude::*;
    let names = prop::sample::select(vec![
        "a",
        "b",
        "a/b",
        "a/b/c",
        "../a",
        "/a",
        "a/../b",
        ".",
        "..",
        ".wh.a",
        "a/.wh.b",
        ".wh..wh..opq",
        "a/.wh..wh..opq",
        ".wh...",
        "",
    ]);
    let links = prop::sample::select(vec![
        "a",
        "b",
        "a/b",
        "..",
        "../..",
        "../outside",
        "../outside/file",
        "/",
        "/a",
        ".",
        "",
    ]);
    let kinds = prop::sample::select(vec![
        EntryType::Regular,
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
    ]);
    let entry = (kinds, names, links, 0_u32..0o10000);
    let layer = prop::collection::vec(entry, 0..12);
    let layers = prop::collection::vec(layer, 1..4);
    proptest!(ProptestConfig::with_cases(600), |(layers in layers, cut in 0_usize..4000)| {
        let place = Place::new();
        let mut bytes: Vec<Vec<u8>> = layers
            .iter()
            .map(|layer| {
                let whole = layer.iter().fold(Layer::default(), |all, (kind, name, link, mode)| {
                    // Directories stay open, so that the place can be removed by any user.
                    all.entry(*kind, name, mode | 0o700, link, b"")
                });
                whole.end()
            })
            .collect();
        if let Some(last) = bytes.last_mut() {
            let length = last.len().saturating_sub(cut / 2);
            last.truncate(length);
        }
        // The place itself checks that nothing outside has changed.
        let _ = place.unpack(&bytes, Limits::default());
    });
}

#[test]
fn content_that_is_longer_than_its_entry_is_not_written() {
    let place = Place::new();
    let mut layer = Layer::default().file("a", "12").end();
    layer.truncate(1024);
    let endless = layer.as_slice().chain(io::repeat(0).take(4096));
    let mut tree = Tree::new(&place.root(), Limits::default(), Stop::default()).unwrap();
    tree.add("the layer", endless, Whiteouts::Obeyed).unwrap();
    assert_eq!(fs::read_to_string(place.root().join("a")).unwrap(), "12");
}

#[test]
fn a_hard_link_of_a_layer_does_not_spare_the_older_name() {
    let lower = Layer::default().dir("d").file("d/old", "1").end();
    let link = |layer: Layer| layer.hard_link("new", "d/old");
    for upper in [
        link(Layer::default()).file("d/.wh.old", ""),
        link(Layer::default()).file("d/.wh..wh..opq", ""),
    ] {
        let tree = Place::new().tree(&[lower.clone(), upper.end()]);
        assert_eq!(tree, texts([("d", "/"), ("new", "1")]));
    }
    // A file stays that a layer has written by way of a link to its directory.
    let lower = Layer::default().dir("d").file("d/old", "1").link("l", "d");
    let upper = Layer::default()
        .file("l/new", "2")
        .file("d/.wh..wh..opq", "");
    let tree = Place::new().tree(&[lower.end(), upper.end()]);
    assert_eq!(tree.get("d/new").map(String::as_str), Some("2"), "{tree:?}");
    assert!(!tree.contains_key("d/old"), "{tree:?}");
}
