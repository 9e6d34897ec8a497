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

use super::{Images, Obtained, Progress};
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
