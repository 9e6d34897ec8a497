//! The images that a plan names: unpacked before anything starts, and kept as long as a run that
//! names them goes on. Another process may obtain them before: a unit that has the rights that this
//! needs, and ends.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, sync::oneshot};

use super::{StartError, note::note};
use crate::{
    error::escaped,
    images::{
        self, Hold, Image, ImageError, Images, Kept, Login, Obtained as Unpacking, Progress, Stop,
    },
    interrupts::{Interrupted, Interrupts},
    plan::{self, Container, Env, Plan},
    roots::Unpacked,
    store::{Liveness, StateDir, StoreError, read_document, write_json},
    unit::{ManagerKind, Placement, RunSpec},
};
use nixactions_core::{
    image::{Digest, ImageSource},
    spec::ImageSpec,
};

/// The variable with the size of all images together.
const SIZE_VARIABLE: &str = "NIXACTIONS_IMAGES_SIZE";
/// The time for which a signal waits until the files of an unfinished image are removed.
const REMOVAL: Duration = Duration::from_secs(10);
/// Variables of images that mean nothing to a job: it has a user and a home of its own.
const OWN: [&str; 3] = ["HOME", "LOGNAME", "USER"];

/// The unpacked images of a plan.
#[derive(Debug, Default)]
pub(super) struct Obtained {
    /// Their directories, by executor.
    pub roots: BTreeMap<String, Unpacked>,
    /// Their settings, by executor.
    pub images: BTreeMap<String, ImageSpec>,
    /// The types of the file systems in disk images, by executor.
    pub disks: BTreeMap<String, String>,
    /// Locks that keep the images until the run's spec does.
    pub holds: Vec<Hold>,
}

impl Obtained {
    /// Adds the image of an executor.
    fn add(&mut self, wanted: &Wanted, image: Image) {
        let text =
            |text: String| Some(text).filter(|text| wanted.has_image_user && !text.is_empty());
        let spec = ImageSpec {
            digest: image.digest,
            env: variables(&image.env),
            command: image.command,
            user: text(image.user),
            // A relative one starts at the root.
            working_dir: text(image.working_dir).map(|directory| Path::new("/").join(directory)),
        };
        let unpacked = Unpacked {
            directory: image.root,
            source: wanted.from.told(),
        };
        self.images.insert(wanted.key.clone(), spec);
        self.roots.insert(wanted.key.clone(), unpacked);
    }
}

/// Returns the images of a state directory, with the size that the caller's environment sets.
///
/// # Errors
/// Fails if that size cannot be parsed, or the current directory is gone.
pub fn images_of(state: &Path) -> Result<Images, StartError> {
    let state = std::path::absolute(state)
        .map_err(|error| StartError::Here("the state directory", error))?;
    let images = Images::new(&state);
    match std::env::var(SIZE_VARIABLE) {
        Ok(text) => match plan::size(&text) {
            Some(size) => Ok(images.with_size(size)),
            None => Err(StartError::ImagesSize { text }),
        },
        Err(_) => Ok(images),
    }
}

/// Returns whether a run that goes on uses an image. If the runs cannot be read, for example
/// because a newer program has made them, all images count as used.
pub fn is_in_use(state: &Path, digest: &Digest) -> bool {
    // An absent directory has no runs.
    let state = StateDir::open(state);
    let Ok((state, runs)) = state.and_then(|state| state.runs().map(|runs| (state, runs))) else {
        return true;
    };
    runs.iter().any(|id| {
        let run = match state.run(id.as_str()) {
            Ok(run) => run,
            // It has been removed.
            Err(StoreError::NoRun { .. }) => return false,
            Err(_) => return true,
        };
        match run.liveness() {
            Liveness::Finished => false,
            // A client that starts a run holds the locks of its images.
            Liveness::Incomplete => false,
            Liveness::Running | Liveness::Lost => match read_document::<RunSpec>(&run.spec()) {
                Ok(spec) => spec.images.values().any(|image| image.digest == *digest),
                Err(_) => run.spec().exists(),
            },
        }
    })
}

/// An image that jobs of an executor need, or a service.
struct Wanted {
    key: String,
    named: String,
    from: Kind,
    has_image_user: bool,
    needs_command: bool,
}

/// The kinds of images, each with the place from which it comes.
#[derive(PartialEq, Eq)]
enum Kind {
    Image(ImageSource, Option<Digest>),
    Archive(PathBuf),
    Disk(PathBuf, &'static str),
}

impl Kind {
    fn told(&self) -> String {
        match self {
            Self::Image(source, _) => source.to_string(),
            Self::Archive(path) | Self::Disk(path, _) => path.display().to_string(),
        }
    }

    /// Returns the key by which an image is kept.
    fn key(&self) -> String {
        match self {
            Self::Image(source, None) => format!("image {source}"),
            Self::Image(source, Some(digest)) => format!("image {source} {digest}"),
            Self::Archive(path) | Self::Disk(path, _) => format!("archive {}", path.display()),
        }
    }
}

/// The origin of the images of a run.
enum Supply {
    /// Their sources.
    Sources(Login),
    /// A unit that has obtained them for this run.
    Unit { unit: String, kept: Kept },
}

/// Obtains the images that jobs of a plan use, and keeps them by the name of a unit for the run
/// that starts after it.
///
/// # Errors
/// Fails as the start of the run would. No images are kept then.
pub async fn obtain_for(
    unit: &str,
    plan: &Path,
    state: &Path,
    interrupts: &mut Interrupts,
) -> Result<(), StartError> {
    check_unit(unit)?;
    let images = images_of(state)?;
    images
        .release(unit)
        .map_err(|source| failed(unit, source))?;
    let wanted = wanted(&plan::load(plan)?)?;
    let (state, unit) = (state.to_owned(), unit.to_owned());
    let work = move |images: Images| {
        let supply = Supply::Sources(Login::from_environment());
        let all = all(&wanted, &images, &state, &supply)?;
        let digests = wanted.iter().filter_map(|wanted| {
            let image = all.images.get(&wanted.key)?;
            Some((wanted.from.key(), image.digest.clone()))
        });
        // The locks end when the note is there.
        images
            .keep(&unit, &digests.collect())
            .map_err(|source| failed(&unit, source))
    };
    unless_interrupted(images, interrupts, work).await?
}

/// A unit that obtains the images for a run.
#[derive(Debug, Clone, Copy)]
pub struct ImagesUnit<'a> {
    /// The program that starts it and waits for its end (`nixos/first.sh`).
    pub program: &'a Path,
    /// Its name.
    pub name: &'a str,
    /// The directory in which it reads `plan.json`.
    pub directory: &'a Path,
}

/// Has a unit obtain the images that jobs of a plan use, if there are any. Returns its name.
pub(super) async fn ask<'a>(
    plan: &Plan,
    unit: ImagesUnit<'a>,
    manager: ManagerKind,
    interrupts: &mut Interrupts,
) -> Result<Option<&'a str>, StartError> {
    if manager == ManagerKind::User || wanted(plan)?.is_empty() {
        return Ok(None);
    }
    check_unit(unit.name)?;
    write_json(&unit.directory.join("plan.json"), plan, 0o600, false)?;
    let mut command = Command::new(unit.program);
    command
        .args([unit.name, "obtain the images"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = interrupts.unless(command.output()).await?;
    let output = output.map_err(|source| StartError::Program {
        path: unit.program.to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(Some(unit.name));
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(StartError::Unobtained { said })
}

/// Checks that the name of a unit is that of a file, too.
fn check_unit(unit: &str) -> Result<(), StartError> {
    if unit.is_empty() || unit.starts_with('.') || unit.contains('/') {
        return Err(StartError::BadUnit {
            unit: unit.to_owned(),
        });
    }
    Ok(())
}

/// Returns the error of the notes of a unit.
fn failed(unit: &str, source: ImageError) -> StartError {
    StartError::Image {
        named: format!("images of `{unit}`"),
        source,
    }
}

/// Unpacks all images that jobs of a plan use, or takes those that a unit has obtained. Tells the
/// user of each that takes time.
pub(super) async fn obtain(
    plan: &Plan,
    state: &Path,
    unit: Option<&str>,
    manager: ManagerKind,
    interrupts: &mut Interrupts,
) -> Result<Obtained, StartError> {
    // Such a manager takes no root file systems at all.
    if manager == ManagerKind::User {
        return Ok(Obtained::default());
    }
    let wanted = wanted(plan)?;
    if wanted.is_empty() {
        return Ok(Obtained::default());
    }
    let images = images_of(state)?;
    let Some(unit) = unit else {
        let state = state.to_owned();
        let supply = Supply::Sources(Login::from_environment());
        let work = move |images: Images| all(&wanted, &images, &state, &supply);
        return unless_interrupted(images, interrupts, work).await?;
    };
    check_unit(unit)?;
    let (unit, state) = (unit.to_owned(), state.to_owned());
    let work = move |images: Images| {
        let kept = images.kept(&unit).map_err(|source| failed(&unit, source))?;
        let supply = Supply::Unit { unit, kept };
        let all = all(&wanted, &images, &state, &supply)?;
        // From here on its locks keep them. Another run takes images of its own.
        if let Supply::Unit { unit, .. } = &supply {
            images
                .release(unit)
                .map_err(|source| failed(unit, source))?;
        }
        Ok(all)
    };
    unless_interrupted(images, interrupts, work).await?
}

/// Works on images, until a signal comes. Their unfinished files are removed then.
///
/// # Errors
/// Fails with the signal.
pub async fn unless_interrupted<T: Send + 'static>(
    images: Images,
    interrupts: &mut Interrupts,
    work: impl FnOnce(Images) -> T + Send + 'static,
) -> Result<T, StartError> {
    let images = images.with_stop(Stop::on(interrupts.mark().shared()));
    let (send, mut receive) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        // The receiver is gone only after a signal.
        let _ = send.send(work(images));
    });
    tokio::select! {
        found = &mut receive => {
            interrupts.mark().check()?;
            match (found, thread.join()) {
                (Ok(found), _) => Ok(found),
                // Its message has been printed.
                (Err(_), Err(panic)) => std::panic::resume_unwind(panic),
                (Err(_), Ok(())) => unreachable!("invariant: the thread sends unless it panics"),
            }
        }
        signal = interrupts.recv() => {
            // The thread sees the mark that the signal has left, and removes its files.
            let _ = tokio::time::timeout(REMOVAL, receive).await;
            Err(Interrupted(signal).into())
        }
    }
}

/// Returns the images that jobs of a plan use.
fn wanted(plan: &Plan) -> Result<Vec<Wanted>, StartError> {
    let mut wanted = Vec::new();
    for used in plan.used() {
        let place = Placement::by(&used.executor);
        let Some(container) = place.container() else {
            continue;
        };
        let from = from(&container).map_err(|source| StartError::Image {
            named: used.named.clone(),
            source,
        })?;
        wanted.extend(from.map(|from| Wanted {
            key: used.key.clone(),
            named: used.named.clone(),
            from,
            has_image_user: container.image_user,
            needs_command: used.needs_command,
        }));
    }
    Ok(wanted)
}

/// Returns the place of an executor's image. Returns `None` for a root that needs no unpacking.
fn from(container: &Container<'_>) -> Result<Option<Kind>, ImageError> {
    if let Some(image) = container.image {
        let digest = image.digest.as_deref().map(str::parse).transpose()?;
        return Ok(Some(Kind::Image(image.oci.parse()?, digest)));
    }
    let Some(root) = container.root else {
        return Ok(None);
    };
    Ok(match images::root_of(root) {
        Ok(images::Root::Archive) => Some(Kind::Archive(root.to_owned())),
        Ok(images::Root::Disk(file_system)) => Some(Kind::Disk(root.to_owned(), file_system)),
        // `roots` tells their faults.
        Ok(images::Root::Directory | images::Root::Other) | Err(_) => None,
    })
}

/// Unpacks images one after the other. Executors that name the same one have the same files, even
/// if the image changes meanwhile.
fn all(
    wanted: &[Wanted],
    images: &Images,
    state: &Path,
    supply: &Supply,
) -> Result<Obtained, StartError> {
    let mut all = Obtained::default();
    let mut done: Vec<(&Kind, Image)> = Vec::new();
    for wanted in wanted {
        let told = wanted.from.told();
        if let Kind::Disk(path, file_system) = &wanted.from {
            let disk = Unpacked {
                directory: path.clone(),
                source: told,
            };
            all.roots.insert(wanted.key.clone(), disk);
            all.disks
                .insert(wanted.key.clone(), (*file_system).to_owned());
            continue;
        }
        let known = done.iter().find(|(kind, _)| **kind == wanted.from);
        if let Some((_, image)) = known {
            check_command(wanted, image)?;
            all.add(wanted, image.clone());
            continue;
        }
        let obtained = one(wanted, images, state, supply)?;
        let image = obtained.image;
        check_command(wanted, &image)?;
        if obtained.is_new {
            for left_out in &image.notes {
                note(&escaped(&format!("image `{told}`: {left_out}")));
            }
        }
        all.holds.push(obtained.hold);
        all.add(wanted, image.clone());
        done.push((&wanted.from, image));
    }
    Ok(all)
}

/// Unpacks an image, or takes the one that a unit has obtained.
fn one(
    wanted: &Wanted,
    images: &Images,
    state: &Path,
    supply: &Supply,
) -> Result<Unpacking, StartError> {
    let mut progress = |progress: Progress| {
        let told = wanted.from.told();
        note(&escaped(&format!("image `{told}`: {progress}")));
    };
    let in_use = |digest: &Digest| is_in_use(state, digest);
    let obtained = match (supply, &wanted.from) {
        (Supply::Sources(login), Kind::Image(source, digest)) => {
            images.obtain(source, digest.as_ref(), login, &in_use, &mut progress)
        }
        (Supply::Sources(_), Kind::Archive(path) | Kind::Disk(path, _)) => {
            images.obtain_archive(path, None, &in_use, &mut progress)
        }
        (Supply::Unit { unit, kept }, from) => {
            let held = kept.get(&from.key()).map(|digest| images.hold(digest));
            held.transpose().and_then(|held| {
                held.flatten().ok_or_else(|| ImageError::NotKept {
                    image: from.told(),
                    name: unit.clone(),
                })
            })
        }
    };
    obtained.map_err(|source| StartError::Image {
        named: wanted.named.clone(),
        source,
    })
}

/// Checks that a service whose plan names no command finds one in its image.
fn check_command(wanted: &Wanted, image: &Image) -> Result<(), StartError> {
    if wanted.needs_command && image.command.is_empty() {
        return Err(StartError::Image {
            named: wanted.named.clone(),
            source: ImageError::Unusable {
                document: "the configuration".to_owned(),
                fault: format!(
                    "`{}` names no command; name one in `run`",
                    wanted.from.told()
                ),
            },
        });
    }
    Ok(())
}

/// Returns the variables of an image that a job gets.
fn variables(env: &[String]) -> Env {
    let pairs = env.iter().filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, value)| {
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            is_name
                && !name.starts_with("NIXACTIONS")
                && !OWN.contains(name)
                && !value.contains('\0')
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_images_have_names_and_are_not_the_jobs_own() {
        let env = [
            "A=b=c",
            "HOME=/root",
            "=x",
            "NIXACTIONS_RUN=1",
            "x y=1",
            "PATH=/bin",
            "none",
            "N=a\0",
        ];
        let found = variables(&env.map(str::to_owned));
        let expected = [("A", "b=c"), ("PATH", "/bin")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected.into_iter().collect());
    }

    #[test]
    fn an_image_of_runs_that_cannot_be_read_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let state = dir.path().join("state");
        assert!(!is_in_use(&state, &digest), "there is no run");
        StateDir::create(&state).unwrap();
        assert!(!is_in_use(&state, &digest), "there is no run");
        std::fs::write(state.join("version"), "99").unwrap();
        assert!(is_in_use(&state, &digest), "a newer program has made it");
    }

    #[test]
    #[should_panic(expected = "the unpacker has a bug")]
    fn a_panic_of_the_work_is_one_of_the_program() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _ = runtime.block_on(async {
            let mut interrupts = Interrupts::ctrl_c().unwrap();
            let images = Images::new(Path::new("/nowhere"));
            let work = |_: Images| panic!("the unpacker has a bug");
            unless_interrupted::<()>(images, &mut interrupts, work).await
        });
    }
}
