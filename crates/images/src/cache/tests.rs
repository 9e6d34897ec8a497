//! Images that others make, spoil or want with another digest.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Images, Kept, Obtained, Progress};
use crate::{
    ImageError, Stop,
    image::{Digest, ImageSource},
    lock::{Hold, Kind},
    source::Login,
};

/// A time after which a test is stuck.
const LONG: Duration = Duration::from_secs(60);

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn images(&self) -> Images {
        Images::new(&self.0.path().join("state"))
    }

    /// Makes a tar archive with a file of this text.
    fn archive(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("it.tar");
        let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        builder
            .append_data(&mut header, "file", text.as_bytes())
            .unwrap();
        builder.finish().unwrap();
        path
    }
}

fn obtain(
    images: &Images,
    path: &std::path::Path,
    wanted: Option<&Digest>,
) -> Result<Obtained, ImageError> {
    images.obtain_archive(path, wanted, &|_| false, &mut |_| {})
}

#[test]
fn an_image_whose_description_cannot_be_read_is_made_anew() {
    let place = Place::new();
    let (images, archive) = (place.images(), place.archive("text"));
    let first = obtain(&images, &archive, None).unwrap();
    let digest = first.image.digest.clone();
    let description = images.place(&digest).join("image.json");
    fs::write(&description, "{").unwrap();
    fs::write(first.image.root.join("file"), "spoilt").unwrap();
    // Not while a process or a run uses its files.
    let error = obtain(&images, &archive, None).unwrap_err();
    assert!(matches!(error, ImageError::InUse { .. }), "{error}");
    drop(first);
    let error = images
        .obtain_archive(&archive, None, &|_| true, &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, ImageError::InUse { .. }), "{error}");
    let again = obtain(&images, &archive, None).unwrap();
    assert!(again.is_new && again.image.digest == digest);
    let text = fs::read_to_string(again.image.root.join("file")).unwrap();
    assert_eq!(text, "text");
}

#[test]
fn a_wrong_digest_is_refused_before_anything_is_unpacked() {
    let place = Place::new();
    let (images, archive) = (place.images(), place.archive("text"));
    let other: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let error = obtain(&images, &archive, Some(&other)).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    assert_eq!(images.list().unwrap(), []);
    assert!(fs::read_dir(images.unpacking()).unwrap().next().is_none());
    let found = obtain(&images, &archive, None).unwrap().image.digest;
    obtain(&images, &archive, Some(&found)).unwrap();
    obtain(&images, &archive, Some(&other)).unwrap_err();
    // A reference that names another digest is refused without its registry.
    let reference: ImageSource = format!("docker://127.0.0.1:1/a@{found}").parse().unwrap();
    let (login, free) = (Login::from_environment(), |_: &Digest| false);
    let error = images
        .obtain(&reference, Some(&other), &login, &free, &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
}

#[test]
fn the_users_of_an_image_are_not_waited_for() {
    let place = Place::new();
    let (images, archive) = (place.images(), place.archive("text"));
    let digest = obtain(&images, &archive, None).unwrap().image.digest;
    // Its maker is at work: it has the lock alone, and the image is not there yet.
    let (there, away) = (images.place(&digest), place.0.path().join("away"));
    fs::rename(&there, &away).unwrap();
    let path = images.lock_path(&digest);
    let maker = Hold::take(&path, Kind::Alone).unwrap().unwrap();
    let (tell, told) = mpsc::channel();
    let waiter = std::thread::spawn({
        let (images, archive) = (images.clone(), archive.clone());
        move || {
            let mut progress = |said| {
                if matches!(said, Progress::Waiting(_)) {
                    tell.send(()).unwrap();
                }
            };
            let found = images.obtain_archive(&archive, None, &|_| false, &mut progress);
            found.unwrap().is_new
        }
    });
    told.recv_timeout(LONG).unwrap();
    // It is done, and uses the image from now on.
    fs::rename(&away, &there).unwrap();
    let user = maker.share().unwrap().unwrap();
    let begun = Instant::now();
    assert!(!waiter.join().unwrap() && begun.elapsed() < LONG);
    drop(user);
}

#[test]
fn a_stop_ends_the_work_and_leaves_nothing() {
    let place = Place::new();
    let archive = place.archive(&"text".repeat(1 << 20));
    let flag = Arc::new(AtomicUsize::new(0));
    let images = place.images().with_stop(Stop::on(Arc::clone(&flag)));
    let mut progress = |progress| {
        if matches!(progress, Progress::Layer(..)) {
            flag.store(2, Ordering::SeqCst);
        }
    };
    images
        .obtain_archive(&archive, None, &|_| false, &mut progress)
        .unwrap_err();
    assert_eq!(images.list().unwrap(), []);
    assert!(fs::read_dir(images.unpacking()).unwrap().next().is_none());
    flag.store(0, Ordering::SeqCst);
    obtain(&images, &archive, None).unwrap();
}

#[test]
fn the_plain_content_of_an_archive_of_an_image_is_bounded() {
    use std::io::Write;
    let place = Place::new();
    let archive = place.archive(&"\0".repeat(4 << 20));
    let small = place.0.path().join("small.tar.gz");
    let file = fs::File::create(&small).unwrap();
    let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    writer.write_all(&fs::read(&archive).unwrap()).unwrap();
    writer.finish().unwrap();
    let source = ImageSource::Path(small);
    let (login, free) = (Login::from_environment(), |_: &Digest| false);
    let images = place.images().with_size(1 << 20);
    let error = images.obtain(&source, None, &login, &free, &mut |_| {});
    let error = error.unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    // A file of another size is not the image.
    let error = place
        .images()
        .obtain(&source, None, &login, &free, &mut |_| {});
    let error = error.unwrap_err();
    assert!(matches!(error, ImageError::NoImage { .. }), "{error}");
}

/// Fails if the work does not end in time.
fn within<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    told.recv_timeout(time).expect("the work ends in time")
}

/// Makes an OCI layout whose only layer has a file of zeros. The digest of a large one is wrong.
fn layout(place: &Place, size: u64) -> PathBuf {
    const SMALL: u64 = 1 << 20;
    let path = place.0.path().join("layout");
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let store = |content: &[u8]| {
        let digest = crate::hash::digest_of(content);
        fs::write(blobs.join(digest.hex()), content).unwrap();
        (digest, content.len() as u64)
    };
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_cksum();
    let whole = header.as_bytes().len() as u64 + size.next_multiple_of(512) + 1024;
    let (layer, layer_size) = if size < SMALL {
        let mut content = header.as_bytes().to_vec();
        content.resize(usize::try_from(whole).unwrap(), 0);
        store(&content)
    } else {
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let path = blobs.join(digest.hex());
        fs::write(&path, header.as_bytes()).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(whole).unwrap();
        (digest, whole)
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let (config, config_size) = store(
        json!({ "architecture": machine, "os": "linux", "config": { "Env": ["A=b"] },
            "rootfs": { "type": "layers", "diff_ids": [layer] } })
        .to_string()
        .as_bytes(),
    );
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let (manifest, manifest_size) = store(
        json!({ "schemaVersion": 2,
            "config": { "mediaType": kind("config.v1+json"), "digest": config, "size": config_size },
            "layers": [{ "mediaType": kind("layer.v1.tar"), "digest": layer, "size": layer_size }] })
        .to_string()
        .as_bytes(),
    );
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": kind("manifest.v1+json"), "digest": manifest, "size": manifest_size }] });
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    path
}

fn obtain_image(
    images: &Images,
    path: &std::path::Path,
    wanted: Option<&Digest>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Obtained, ImageError> {
    let source = ImageSource::Path(path.to_owned());
    images.obtain(
        &source,
        wanted,
        &Login::from_environment(),
        &|_| false,
        progress,
    )
}

#[test]
fn a_stop_ends_the_reading_of_a_layer_at_once() {
    const LARGE: u64 = 60 << 30;
    let place = Place::new();
    let path = layout(&place, LARGE);
    let flag = Arc::new(AtomicUsize::new(0));
    let stop = Stop::on(Arc::clone(&flag));
    let images = place.images().with_size(LARGE).with_stop(stop);
    let left = images.clone();
    within(LONG / 4, move || {
        let mut progress = |said| {
            if matches!(said, Progress::Layer(..)) {
                flag.store(2, Ordering::SeqCst);
            }
        };
        obtain_image(&images, &path, None, &mut progress).unwrap_err();
    });
    assert_eq!(left.list().unwrap(), []);
}

/// A file may be an image and a root file system: an archive of a layout is both.
#[test]
fn an_image_is_never_found_as_a_root_nor_a_root_as_an_image() {
    let place = Place::new();
    let layout = layout(&place, 5);
    let archive = place.0.path().join("both.tar");
    let mut builder = tar::Builder::new(fs::File::create(&archive).unwrap());
    builder.append_dir_all("", &layout).unwrap();
    builder.into_inner().unwrap();
    // Only a file that has not just been changed is remembered.
    let old = std::time::SystemTime::now() - LONG;
    let file = fs::File::options().write(true).open(&archive).unwrap();
    file.set_modified(old).unwrap();
    let images = place.images();
    for _ in 0..2 {
        let root = obtain(&images, &archive, None).unwrap().image;
        assert!(root.root.join("oci-layout").exists() && root.env.is_empty());
        let image = obtain_image(&images, &archive, None, &mut |_| {});
        let image = image.unwrap().image;
        assert!(image.root.join("zeros").exists() && image.env == ["A=b"]);
        // The digest of the file is not that of the image.
        obtain_image(&images, &archive, Some(&root.digest), &mut |_| {}).unwrap_err();
    }
}

#[test]
fn a_named_pipe_is_refused() {
    let place = Place::new();
    let pipe = place.0.path().join("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
    let images = place.images();
    within(LONG / 4, move || {
        crate::root_of(&pipe).unwrap_err();
        obtain(&images, &pipe, None).unwrap_err();
        obtain_image(&images, &pipe, None, &mut |_| {}).unwrap_err();
    });
}

#[test]
fn processes_that_find_a_spoilt_image_at_once_do_not_take_each_other_for_users() {
    let place = Place::new();
    let (images, archive) = (place.images(), place.archive("text"));
    let digest = obtain(&images, &archive, None).unwrap().image.digest;
    for _ in 0..40 {
        fs::write(images.place(&digest).join("image.json"), "{").unwrap();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| obtain(&images, &archive, None)))
                .collect();
            for one in all {
                one.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_kept_image_stays_until_it_is_released() {
    let place = Place::new();
    let (images, archive) = (place.images(), place.archive("text"));
    let held = obtain(&images, &archive, None).unwrap();
    let digest = held.image.digest.clone();
    let kept = Kept::from([("it".to_owned(), digest.clone())]);
    images.keep("a", &kept).unwrap();
    images.keep("b", &kept).unwrap();
    drop(held);
    let is_there = || {
        let removed = images.shrink(0, &|_| false).unwrap();
        removed.is_empty()
    };
    let error = images.remove(digest.hex(), &|_| false).unwrap_err();
    assert!(matches!(error, ImageError::InUse { .. }), "{error}");
    assert!(is_there());
    images.release("a").unwrap();
    assert!(is_there(), "another name keeps it");
    // Its user has a lock before the name is given up.
    assert_eq!(images.kept("b").unwrap(), kept);
    let held = images.hold(&digest).unwrap();
    assert!(held.is_some());
    images.release("b").unwrap();
    assert!(is_there());
    drop(held);
    assert!(!is_there());
    assert!(images.hold(&digest).unwrap().is_none());
    assert_eq!(images.kept("b").unwrap(), Kept::new());
    images.release("b").unwrap();
}
