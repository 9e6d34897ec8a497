//! `nixactions image`: lists, unpacks and removes the images of a state directory. Also the hidden
//! command `obtain-images DIRECTORY UNIT PLAN`, for the unit that does so before a run.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    CliError, Exit,
    args::{
        ImageArgs, ImageCleanArgs, ImageCommand, ImageListArgs, ImagePullArgs, ImageRemoveArgs,
    },
    block_on,
    output::{colour, say},
};
use crate::{
    error::{escaped, escaped_json},
    images::{Image, ImageError, Images, Login, Obtained, Progress, Removal},
    interrupts::Interrupts,
    plan,
    report::{Bytes, Table, plural},
    start,
};
use nixactions_core::image::{Digest, ImageSource};

/// The digits of a digest that a table shows.
const SHORT: usize = 12;

/// Tells whether a run uses an image.
type InUse<'a> = &'a dyn Fn(&Digest) -> bool;

pub(super) fn main(args: &ImageArgs, state: &Path) -> Result<Exit, CliError> {
    let images = start::images_of(state)?;
    let in_use = |digest: &Digest| start::is_in_use(state, digest);
    match &args.command {
        ImageCommand::List(args) => list(args, &images),
        ImageCommand::Pull(args) => pull(args, images, state),
        ImageCommand::Remove(args) => remove(args, &images, &in_use),
        ImageCommand::Clean(args) => clean(args, &images, &in_use),
    }
}

/// An image as `list --json` writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    digest: &'a Digest,
    root: &'a Path,
    source: &'a str,
    bytes: u64,
    env: &'a [String],
    user: &'a str,
    working_dir: &'a str,
    notes: &'a [String],
    unpacked_at: Timestamp,
    used_at: Timestamp,
}

fn list(args: &ImageListArgs, images: &Images) -> Result<Exit, CliError> {
    let all = images.list()?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let written = if args.json {
        let rows: Vec<_> = all.iter().map(row).collect();
        serde_json::to_string_pretty(&rows)
            .map_err(std::io::Error::from)
            .and_then(|json| writeln!(out, "{}", escaped_json(&json)))
    } else {
        let mut table = Table::new(&["image", "size", "used", "source"]);
        for image in &all {
            table.row(vec![
                (image.digest.hex()[..SHORT].to_owned(), None),
                (Bytes(image.bytes).to_string(), None),
                (image.used_at.strftime("%F %T").to_string(), None),
                (escaped(&image.source).into_owned(), None),
            ]);
        }
        if table.is_empty() {
            say("no images");
            Ok(())
        } else {
            table.write(&mut out, colour())
        }
    };
    written
        .and_then(|()| out.flush())
        .map_err(CliError::Output)?;
    Ok(Exit::Success)
}

fn row(image: &Image) -> Row<'_> {
    Row {
        digest: &image.digest,
        root: &image.root,
        source: &image.source,
        bytes: image.bytes,
        env: &image.env,
        user: &image.user,
        working_dir: &image.working_dir,
        notes: &image.notes,
        unpacked_at: image.unpacked_at,
        used_at: image.used_at,
    }
}

fn pull(args: &ImagePullArgs, images: Images, state: &Path) -> Result<Exit, CliError> {
    let wanted: Option<Digest> = match &args.digest {
        Some(text) => Some(text.parse().map_err(ImageError::from)?),
        None => None,
    };
    let source = source_of(&args.image)?;
    let state = state.to_owned();
    let work = move |images: Images| obtain(&source, wanted.as_ref(), &images, &state);
    let obtained = block_on(async {
        let mut interrupts = Interrupts::catch().map_err(CliError::Runtime)?;
        Ok(start::unless_interrupted(images, &mut interrupts, work).await?)
    })??;
    for note in &obtained.image.notes {
        say(&format!("note: {}", escaped(note)));
    }
    writeln!(std::io::stdout(), "{}", obtained.image.digest).map_err(CliError::Output)?;
    Ok(Exit::Success)
}

/// Obtains the images of a plan for the run that starts after a unit.
pub(super) fn obtain_for(state: &Path, unit: &OsStr, plan: &Path) -> Result<Exit, CliError> {
    let unit = unit.to_string_lossy();
    block_on(async {
        let mut interrupts = Interrupts::catch().map_err(CliError::Runtime)?;
        start::obtain_for(&unit, plan, state, &mut interrupts).await?;
        Ok(Exit::Success)
    })
}

/// Unpacks an image or a tar archive of a root file system.
fn obtain(
    source: &ImageSource,
    wanted: Option<&Digest>,
    images: &Images,
    state: &Path,
) -> Result<Obtained, ImageError> {
    let in_use = |digest: &Digest| start::is_in_use(state, digest);
    let mut progress = |progress: Progress| say(&escaped(&progress.to_string()));
    let login = Login::from_environment();
    match (
        images.obtain(source, wanted, &login, &in_use, &mut progress),
        source,
    ) {
        // A root file system has no digest but that of its file.
        (Err(ImageError::NoImage { .. }), ImageSource::Path(path)) if path.is_file() => {
            images.obtain_archive(path, wanted, &in_use, &mut progress)
        }
        (obtained, _) => obtained,
    }
}

/// Returns the place that an argument names. A path may be relative here.
fn source_of(text: &str) -> Result<ImageSource, CliError> {
    if text.starts_with("docker://") || !Path::new(text).exists() {
        return Ok(text.parse().map_err(ImageError::from)?);
    }
    let path: PathBuf = std::path::absolute(text).map_err(CliError::Runtime)?;
    Ok(ImageSource::Path(path))
}

fn remove(args: &ImageRemoveArgs, images: &Images, in_use: InUse<'_>) -> Result<Exit, CliError> {
    let names: BTreeSet<_> = args.images.iter().collect();
    for name in names {
        let removal = images.remove(name, in_use)?;
        writeln!(std::io::stdout(), "{}", removal.digest).map_err(CliError::Output)?;
    }
    Ok(Exit::Success)
}

fn clean(args: &ImageCleanArgs, images: &Images, in_use: InUse<'_>) -> Result<Exit, CliError> {
    let keep = plan::size(&args.keep_size).ok_or_else(|| CliError::BadSize {
        text: args.keep_size.clone(),
    })?;
    images.sweep(None);
    let removed = images.shrink(keep, in_use)?;
    let mut out = std::io::stdout().lock();
    for removal in &removed {
        writeln!(out, "{}", removal.digest).map_err(CliError::Output)?;
    }
    say(&summary(&removed, images.list()?.len()));
    Ok(Exit::Success)
}

fn summary(removed: &[Removal], left: usize) -> String {
    let bytes = removed.iter().map(|removal| removal.bytes).sum();
    format!(
        "removed {} ({}), {} left",
        plural(removed.len(), "image"),
        Bytes(bytes),
        plural(left, "image")
    )
}
