//! The documents of images: indexes, manifests and configurations (OCI image-spec), also in
//! Docker's own forms, which have the same fields.

use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{LAYERS_MAX, Part};
use crate::{ImageError, image::Digest};

/// The parts of an image's configuration that a job may get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Variables, each `K=V`.
    #[serde(default)]
    pub env: Vec<String>,
    /// The user, and the group after a colon, as names or numbers.
    #[serde(default)]
    pub user: String,
    /// The working directory.
    #[serde(default)]
    pub working_dir: String,
    /// The command: the entry point and its arguments. Absent in images of earlier versions.
    #[serde(default)]
    pub command: Vec<String>,
}

/// A document that leads to an image.
#[derive(Debug)]
pub(super) enum Document {
    Index(Box<ImageIndex>),
    Manifest(Box<ImageManifest>),
}

impl Document {
    /// Parses an index or a manifest, whichever it is. The type that a registry or a descriptor
    /// tells may be absent or wrong.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        let head: Head = parse("the manifest", bytes)?;
        if head.manifests.is_some() {
            parse("the index", bytes).map(|index| Self::Index(Box::new(index)))
        } else {
            parse("the manifest", bytes).map(|manifest| Self::Manifest(Box::new(manifest)))
        }
    }
}

/// Parses a document.
pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Malformed {
        document: name.to_owned(),
        source,
    })
}

/// Returns the part that a descriptor describes.
pub(super) fn part(descriptor: &Descriptor, name: &str) -> Result<Part, ImageError> {
    let digest = descriptor.digest().to_string();
    Ok(Part {
        digest: digest.parse::<Digest>().map_err(|_| ImageError::Unusable {
            document: name.to_owned(),
            fault: format!("has the digest `{digest}`, which is not of SHA-256"),
        })?,
        size: descriptor.size(),
        name: name.to_owned(),
    })
}

/// Returns the configuration and the layers of a manifest.
pub(super) fn parts(manifest: &ImageManifest) -> Result<(Part, Vec<Part>), ImageError> {
    let layers = manifest.layers();
    bound(layers.len())?;
    let count = layers.len();
    let layers = layers
        .iter()
        .enumerate()
        .map(|(i, layer)| part(layer, &layer_name(i, count)));
    Ok((
        part(manifest.config(), "the configuration")?,
        layers.collect::<Result<_, _>>()?,
    ))
}

pub(super) fn layer_name(index: usize, count: usize) -> String {
    format!("layer {} of {count}", index + 1)
}

pub(super) fn bound(layers: usize) -> Result<(), ImageError> {
    if layers > LAYERS_MAX {
        return Err(ImageError::TooLarge {
            archive: "the image".to_owned(),
            limit: format!("{LAYERS_MAX} layers"),
        });
    }
    Ok(())
}

/// Reads a configuration, and checks that the image is for this machine. Also returns the digests
/// of the layers' plain content.
pub(super) fn config(bytes: &[u8]) -> Result<(Config, Vec<String>), ImageError> {
    let image: ImageConfiguration = parse("the configuration", bytes)?;
    let found = platform(image.os(), image.architecture());
    if found != machine() {
        return Err(ImageError::Platform {
            found,
            machine: machine(),
        });
    }
    let config = image.config().clone().unwrap_or_default();
    let command = [config.entrypoint(), config.cmd()];
    let command = command.into_iter().flatten().flatten().cloned().collect();
    let config = Config {
        command,
        env: config.env().clone().unwrap_or_default(),
        user: config.user().clone().unwrap_or_default(),
        working_dir: config.working_dir().clone().unwrap_or_default(),
    };
    Ok((config, image.rootfs().diff_ids().clone()))
}

/// Returns the manifest for this machine in an index.
pub(super) fn choose(index: &ImageIndex) -> Result<&Descriptor, ImageError> {
    let all = index.manifests();
    let of = |descriptor: &Descriptor| descriptor.platform().as_ref().map(platform_of);
    // An index of one manifest may leave its platform to the configuration.
    if let [only] = all.as_slice()
        && only.platform().is_none()
    {
        return Ok(only);
    }
    if let Some(own) = all
        .iter()
        .find(|one| of(one).is_some_and(|found| found == machine()))
    {
        return Ok(own);
    }
    // Attestations have the platform `unknown/unknown`.
    let mut found: Vec<_> = all
        .iter()
        .filter_map(of)
        .filter(|platform| platform != "unknown/unknown")
        .collect();
    found.sort();
    found.dedup();
    Err(ImageError::Platform {
        found: if found.is_empty() {
            "no platform".to_owned()
        } else {
            found.join(", ")
        },
        machine: machine(),
    })
}

fn platform_of(platform: &oci_spec::image::Platform) -> String {
    self::platform(platform.os(), platform.architecture())
}

fn platform(os: &Os, architecture: &Arch) -> String {
    format!("{os}/{architecture}")
}

/// Returns the platform of this machine, in the words of Go.
pub(super) fn machine() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    };
    format!("linux/{architecture}")
}
