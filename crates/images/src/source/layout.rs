//! Images on disk: OCI layouts and OCI archives, and archives of `docker save`.

use std::{collections::HashMap, io::Read};

use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;

use super::{
    DOCUMENT_MAX, Opened, Part, Parts,
    document::{self, Document, bound, layer_name, part},
    files::Files,
    read_document,
};
use crate::{ImageError, hash, image::Digest};

/// The deepest chain of indexes.
const INDEX_DEPTH_MAX: usize = 4;
/// The annotation of an image's name (OCI image-spec, annotations.md).
const NAME: &str = "org.opencontainers.image.ref.name";

/// Opens the image in a directory or archive.
pub(super) fn open(files: Files, wanted: Option<&Digest>) -> Result<Opened<'static>, ImageError> {
    // Newer versions of `docker save` write both. The layout names digests of manifests.
    if files.small("oci-layout", DOCUMENT_MAX)?.is_some()
        && let Some(index) = files.small("index.json", DOCUMENT_MAX)?
    {
        return open_layout(files, &index, wanted);
    }
    if let Some(list) = files.small("manifest.json", DOCUMENT_MAX)? {
        return open_docker(files, &list, wanted);
    }
    Err(ImageError::NoImage {
        path: files.path().to_owned(),
    })
}

/// The parts of an OCI layout: a file each.
struct Layout(Files);

impl Parts for Layout {
    fn open(&mut self, part: &Part) -> Result<Box<dyn Read + '_>, ImageError> {
        let place = format!("`{}`", self.0.path().display());
        match self
            .0
            .file(&format!("blobs/sha256/{}", part.digest.hex()))?
        {
            Some((reader, _)) => Ok(reader),
            None => Err(ImageError::Absent {
                place,
                part: format!("{} (`{}`)", part.name, part.digest),
            }),
        }
    }
}

fn open_layout(
    files: Files,
    index: &[u8],
    wanted: Option<&Digest>,
) -> Result<Opened<'static>, ImageError> {
    let path = files.path().to_owned();
    let index: ImageIndex = document::parse("index.json", index)?;
    let mut layout = Layout(files);
    let top = match wanted {
        Some(wanted) => find(&mut layout, &index, wanted, 0)?.ok_or_else(|| {
            let found = index.manifests().iter().map(|one| one.digest().to_string());
            missing(&path, wanted, found.collect())
        })?,
        None => only(&path, &index)?.clone(),
    };
    let mut part = part(&top, "the manifest")?;
    for _ in 0..INDEX_DEPTH_MAX {
        match Document::parse(&read_document(&mut layout, &part)?)? {
            Document::Index(index) => {
                part = document::part(document::choose(&index)?, "the manifest")?;
            }
            Document::Manifest(manifest) => {
                let (config, layers) = document::parts(&manifest)?;
                let (config, _) = document::config(&read_document(&mut layout, &config)?)?;
                return Ok(Opened {
                    digest: part.digest,
                    config,
                    layers,
                    parts: Box::new(layout),
                });
            }
        }
    }
    Err(too_deep())
}

fn too_deep() -> ImageError {
    ImageError::Unusable {
        document: "the index".to_owned(),
        fault: "leads to indexes only".to_owned(),
    }
}

/// Returns the only image of an index, or the only one for this machine.
fn only<'a>(path: &std::path::Path, index: &'a ImageIndex) -> Result<&'a Descriptor, ImageError> {
    let all = index.manifests();
    match all.as_slice() {
        [] => Err(ImageError::Unusable {
            document: "index.json".to_owned(),
            fault: "names no image".to_owned(),
        }),
        [only] => Ok(only),
        // The images of one name for several machines differ in their platforms only.
        _ if all.iter().all(|one| one.platform().is_some())
            && all.iter().map(name).all(|other| other == name(&all[0])) =>
        {
            document::choose(index)
        }
        _ => Err(ImageError::Several {
            path: path.to_owned(),
            found: all
                .iter()
                .map(|one| match name(one) {
                    Some(name) => format!("`{}` ({name})", one.digest()),
                    None => format!("`{}`", one.digest()),
                })
                .collect(),
        }),
    }
}

fn name(descriptor: &Descriptor) -> Option<&String> {
    descriptor.annotations().as_ref()?.get(NAME)
}

/// Finds a manifest or an index by its digest, also in the indexes of an index.
fn find(
    layout: &mut Layout,
    index: &ImageIndex,
    wanted: &Digest,
    depth: usize,
) -> Result<Option<Descriptor>, ImageError> {
    for one in index.manifests() {
        if one.digest().to_string() == wanted.as_str() {
            return Ok(Some(one.clone()));
        }
    }
    for one in index.manifests() {
        let part = part(one, "the index")?;
        let is_index = one.media_type().to_string().contains("index")
            || one.media_type().to_string().contains("manifest.list");
        if !is_index || depth >= INDEX_DEPTH_MAX {
            continue;
        }
        if let Document::Index(inner) = Document::parse(&read_document(layout, &part)?)?
            && let Some(found) = find(layout, &inner, wanted, depth + 1)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns the error of a file without the wanted image.
fn missing(path: &std::path::Path, wanted: &Digest, found: Vec<String>) -> ImageError {
    let content = format!("the image in `{}`", path.display());
    match found.as_slice() {
        [only] if only.parse::<Digest>().is_ok() => ImageError::Digest {
            content,
            expected: wanted.clone(),
            found: only.parse().unwrap_or_else(|_| wanted.clone()),
        },
        _ => ImageError::Absent {
            place: format!("`{}`", path.display()),
            part: format!(
                "an image with the digest `{wanted}` (it has {})",
                found.join(", ")
            ),
        },
    }
}

/// An image in an archive of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The layers of an archive of `docker save`, by the digests of their plain content.
struct Docker {
    files: Files,
    names: HashMap<Digest, String>,
}

impl Parts for Docker {
    fn open(&mut self, part: &Part) -> Result<Box<dyn Read + '_>, ImageError> {
        let name = self.names.get(&part.digest).map_or("", String::as_str);
        match self.files.file(name)? {
            Some((reader, _)) => Ok(reader),
            None => Err(ImageError::Absent {
                place: format!("`{}`", self.files.path().display()),
                part: format!("{} (`{name}`)", part.name),
            }),
        }
    }

    fn has_plain_digests(&self) -> bool {
        true
    }
}

fn open_docker(
    files: Files,
    list: &[u8],
    wanted: Option<&Digest>,
) -> Result<Opened<'static>, ImageError> {
    let saved: Vec<Saved> = document::parse("manifest.json", list)?;
    let path = files.path().to_owned();
    let mut images = Vec::new();
    for image in saved {
        let config = files.small(&image.config, DOCUMENT_MAX)?;
        let config = config.ok_or_else(|| ImageError::Absent {
            place: format!("`{}`", path.display()),
            part: format!("the configuration (`{}`)", image.config),
        })?;
        images.push((hash::digest_of(&config), config, image));
    }
    let found: Vec<_> = images
        .iter()
        .map(|(digest, ..)| digest.to_string())
        .collect();
    let position = match wanted {
        Some(wanted) => {
            let position = images.iter().position(|(digest, ..)| digest == wanted);
            position.ok_or_else(|| missing(&path, wanted, found))?
        }
        None if images.len() == 1 => 0,
        None if images.is_empty() => {
            return Err(ImageError::Unusable {
                document: "manifest.json".to_owned(),
                fault: "names no image".to_owned(),
            });
        }
        None => {
            let shown = images.iter().map(|(digest, _, image)| {
                let tags = image.repo_tags.iter().flatten();
                let tags: Vec<_> = tags.map(String::as_str).collect();
                format!("`{digest}` ({})", tags.join(", "))
            });
            let found = shown.collect();
            return Err(ImageError::Several { path, found });
        }
    };
    let (digest, config, image) = images.swap_remove(position);
    let (config, plain) = document::config(&config)?;
    bound(image.layers.len())?;
    if plain.len() != image.layers.len() {
        return Err(ImageError::Unusable {
            document: "the configuration".to_owned(),
            fault: format!(
                "has {} layers, and manifest.json has {}",
                plain.len(),
                image.layers.len()
            ),
        });
    }
    let count = plain.len();
    let mut names = HashMap::new();
    let mut layers = Vec::new();
    for (i, (text, file)) in plain.iter().zip(image.layers).enumerate() {
        let digest: Digest = text.parse().map_err(|_| ImageError::Unusable {
            document: "the configuration".to_owned(),
            fault: format!("has the digest `{text}`, which is not of SHA-256"),
        })?;
        names.insert(digest.clone(), file);
        layers.push(Part {
            digest,
            // The plain size is known when the layer has been read.
            size: 0,
            name: layer_name(i, count),
        });
    }
    Ok(Opened {
        digest,
        config,
        layers,
        parts: Box::new(Docker { files, names }),
    })
}
