//! The names of images: digests, references to registries, and the texts in plans.
//!
//! A reference is written whole, with its registry: no short name is completed here. Knows nothing
//! of the content of images.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// The start of the text of a reference to a registry.
const REGISTRY: &str = "docker://";
/// The algorithm of digests, and the number of hexadecimal digits.
const ALGORITHM: &str = "sha256";
const HEX_DIGITS: usize = 64;
/// The most bytes of a reference without its digest, and of a tag (distribution/reference).
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// The error of a text that does not name an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    /// The digest has another form.
    #[error("invalid digest `{0}`: a digest is `sha256:` and 64 hexadecimal digits in lower case")]
    Digest(String),
    /// The text is neither a path nor a reference.
    #[error("`{0}` is neither an absolute path nor a reference that starts with `docker://`")]
    Kind(String),
    /// The reference names no registry.
    #[error("`{0}` lacks the host of a registry")]
    Host(String),
    /// The reference has no name, or a name with other characters.
    #[error("invalid name `{0}`: a name has lower-case letters, digits, `.`, `_`, `-` and `/`")]
    Name(String),
    /// The tag has other characters.
    #[error(
        "invalid tag `{0}`: a tag has letters, digits, `.`, `_` and `-`, at most {TAG_MAX}, and starts with neither `.` nor `-`"
    )]
    Tag(String),
}

impl ImageNameError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Kind(text) => {
                let path = ["oci:", "oci-archive:", "docker-archive:", "dir:", "file://"]
                    .iter()
                    .find_map(|start| text.strip_prefix(start));
                Some(match path {
                    Some(path) if path.starts_with('/') => {
                        format!("write the path alone: `{path}`")
                    }
                    _ => "write `docker://` and the host before a name of a registry".to_owned(),
                })
            }
            Self::Host(text) => {
                let name = text.trim_start_matches('/');
                let library = if name.contains('/') { "" } else { "library/" };
                Some(format!(
                    "did you mean `docker://docker.io/{library}{name}`?"
                ))
            }
            Self::Digest(_) | Self::Name(_) | Self::Tag(_) => None,
        }
    }
}

/// The SHA-256 digest of an image's manifest, or of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Returns the hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.0[ALGORITHM.len() + 1..]
    }

    /// Returns the whole text: the algorithm, a colon and the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the digest with these bytes.
    pub fn of_bytes(bytes: &[u8; HEX_DIGITS / 2]) -> Self {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        Self(format!("{ALGORITHM}:{}", digits.collect::<String>()))
    }
}

impl FromStr for Digest {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.split_once(':') {
            Some((ALGORITHM, hex)) if hex.len() == HEX_DIGITS && hex.bytes().all(is_digit) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ImageNameError::Digest(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageNameError;

    fn try_from(text: String) -> Result<Self, ImageNameError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry: a host, and its port if that is given.
    pub host: String,
    /// The name in the registry, such as `library/alpine`.
    pub name: String,
    /// The tag. Without a tag and a digest, registries mean `latest`.
    pub tag: Option<String>,
    /// The digest of the manifest.
    pub digest: Option<Digest>,
}

impl FromStr for Reference {
    type Err = ImageNameError;

    /// Parses a reference without `docker://`.
    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (host, path) = rest.split_once('/').unwrap_or(("", rest));
        if !(is_host(host) && (host.contains(['.', ':']) || host == "localhost")) {
            return Err(ImageNameError::Host(text.to_owned()));
        }
        let (name, tag) = match path.split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (path, None),
        };
        if rest.len() > NAME_MAX || !name.split('/').all(is_component) {
            return Err(ImageNameError::Name(name.to_owned()));
        }
        match tag {
            Some(tag) if !is_tag(tag) => Err(ImageNameError::Tag(tag.to_owned())),
            tag => Ok(Self {
                host: host.to_owned(),
                name: name.to_owned(),
                tag: tag.map(str::to_owned),
                digest,
            }),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REGISTRY}{}/{}", self.host, self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Returns whether a text is a host (a name, an IPv4 address, or an IPv6 address in brackets), with
/// or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            (if is_address { "v6" } else { "" }, port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_port = match port.strip_prefix(':') {
        // The parser alone would take a sign and zeros before the number.
        Some(port) => {
            port.starts_with(|c: char| ('1'..='9').contains(&c)) && port.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    };
    is_port && host.split('.').all(is_label)
}

/// Returns whether a text is a component of a name: groups of letters and digits, with `.`, `_`,
/// `__` or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut between = text.split(|c: char| c.is_ascii() && is_plain(c as u8));
    let separators = ["", ".", "_", "__"];
    text.bytes().next().is_some_and(is_plain)
        && text.bytes().last().is_some_and(is_plain)
        && between.all(|part| separators.contains(&part) || part.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

/// The place of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// A file or directory: an OCI archive, an OCI layout or a docker-archive.
    Path(PathBuf),
    /// A registry.
    Registry(Reference),
}

impl FromStr for ImageSource {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        if let Some(reference) = text.strip_prefix(REGISTRY) {
            return Ok(Self::Registry(reference.parse()?));
        }
        if text.starts_with('/') {
            return Ok(Self::Path(text.into()));
        }
        Err(ImageNameError::Kind(text.to_owned()))
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_are_read_and_written_the_same() {
        for text in [
            "docker://docker.io/library/alpine",
            "docker://docker.io/library/alpine:3.20",
            "docker://localhost/a",
            "docker://localhost:5000/a/b__c/d--e:V_1.0-x",
            "docker://[::1]:5000/a",
            "docker://127.0.0.1:5000/a.b",
            &format!("docker://quay.io/a/b:t@sha256:{HEX}"),
            &format!("docker://quay.io/a/b@sha256:{HEX}"),
        ] {
            let source: ImageSource = text.parse().unwrap();
            assert!(matches!(source, ImageSource::Registry(_)), "{text}");
            assert_eq!(source.to_string(), text);
        }
        let path: ImageSource = "/srv/a:b.tar".parse().unwrap();
        assert_eq!(path, ImageSource::Path("/srv/a:b.tar".into()));
    }

    #[test]
    fn bad_references_are_refused_with_their_fault() {
        use ImageNameError as E;
        let error = |text: &str| text.parse::<ImageSource>().unwrap_err();
        assert!(matches!(error("alpine"), E::Kind(_)));
        assert!(matches!(error("docker://alpine"), E::Host(_)));
        assert!(matches!(error("docker://library/alpine"), E::Host(_)));
        assert!(matches!(error("docker://"), E::Host(_)));
        assert!(matches!(error("docker://a..b/c"), E::Host(_)));
        assert!(matches!(error("docker://a.b:0/c"), E::Host(_)));
        assert!(matches!(error("docker://[1]:5/c"), E::Host(_)));
        for name in ["", "A", "a//b", "a/", "a..b", "a___b", "-a", "a/../b", "é"] {
            assert!(
                matches!(error(&format!("docker://a.b/{name}")), E::Name(_)),
                "{name}"
            );
        }
        for tag in ["", "-a", ".a", "a/b", "a:b"] {
            assert!(
                matches!(error(&format!("docker://a.b/c:{tag}")), E::Tag(_)),
                "{tag}"
            );
        }
        for digest in [
            "",
            "sha256:",
            "sha512:00",
            &format!("sha256:{HEX}0"),
            &HEX.to_uppercase(),
        ] {
            let text = format!("docker://a.b/c@{digest}");
            assert!(matches!(error(&text), E::Digest(_)), "{digest}");
        }
    }

    #[test]
    fn hints_show_the_whole_text() {
        let hint = |text: &str| text.parse::<ImageSource>().unwrap_err().hint().unwrap();
        let hints = hint("docker://alpine:3");
        assert_eq!(hints, "did you mean `docker://docker.io/library/alpine:3`?");
        assert_eq!(hint("oci-archive:/a.tar"), "write the path alone: `/a.tar`");
    }

    #[test]
    fn digests_are_their_bytes_in_hexadecimal() {
        let bytes: Vec<u8> = (0..32).collect();
        let digest = Digest::of_bytes(bytes.as_slice().try_into().unwrap());
        assert_eq!(digest.hex()[..6], *"000102");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
}
