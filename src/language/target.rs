//! Resolves a target: a plan, a build result, a .nix file or a flake reference. `docs/nix.md` has
//! the rules.

use std::{
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::error::escaped;

/// The files that make a directory a target. The first existing one counts.
const PLAN: &str = "plan.json";
const FLAKE: &str = "flake.nix";
const FILE: &str = "default.nix";

/// The attribute of a flake if the user names none.
const DEFAULT: &str = "default";

/// A value for an argument of a file's function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A Nix expression: `--arg NAME EXPRESSION`.
    Expression(String, String),
    /// A text: `--argstr NAME TEXT`.
    Text(String, String),
}

/// The user's words for a target.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The target.
    pub target: &'a Path,
    /// The attribute of a .nix file.
    pub attribute: Option<&'a str>,
    /// The arguments for the file's function.
    pub arguments: &'a [Argument],
}

/// A resolved target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A plan: a file, or a directory that holds plan.json.
    Plan(PathBuf),
    /// A workflow from which Nix makes a plan.
    Workflow(Workflow),
}

/// A workflow that Nix evaluates and builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workflow {
    /// An attribute of a flake.
    Flake {
        /// The flake.
        reference: String,
        /// The attribute, in the form for `nix build`.
        attribute: String,
    },
    /// The value of a file, or an attribute of the value.
    File {
        /// The file.
        path: PathBuf,
        /// The attribute, in the form for `nix-build`.
        attribute: Option<String>,
        /// The arguments for the file's function.
        arguments: Vec<Argument>,
    },
}

/// The error of a target that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The target does not exist, and it does not look like a flake reference.
    #[error(
        "found nothing to run named `{}`\n  as a plan, a built workflow or a .nix file: no such file or directory\n  \
         as a flake reference: no `#` and no scheme such as `github:`", escaped(&target.display().to_string())
    )]
    Nothing {
        /// The target.
        target: PathBuf,
        /// A guess at the intended target.
        hint: Option<String>,
    },
    /// The target is a dangling link.
    #[error("`{}` is a link to `{}`, which does not exist", target.display(), to.display())]
    Dangling {
        /// The target.
        target: PathBuf,
        /// The destination of the link.
        to: PathBuf,
    },
    /// The directory has none of the files that make it a target.
    #[error("nothing to run in the directory `{}`: no {}", directory.display(), tried.join(", no "))]
    Empty {
        /// The directory.
        directory: PathBuf,
        /// The files that were looked for.
        tried: Vec<&'static str>,
    },
    /// The user gave options that fit only .nix files.
    #[error("`{}` is {what}: `--attr`, `--arg` and `--argstr` are for .nix files", target.display())]
    NoFile {
        /// The target.
        target: PathBuf,
        /// The kind of the target.
        what: &'static str,
        /// Advice on the right option.
        hint: &'static str,
    },
}

impl TargetError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Nothing { hint, .. } => hint.clone(),
            Self::Dangling { .. } => Some("if Nix has collected it, build it again".to_owned()),
            Self::Empty { .. } => None,
            Self::NoFile { hint, .. } => Some((*hint).to_owned()),
        }
    }
}

impl Target {
    /// Resolves a target. An existing path is what it is on disk. Only a missing path can be a
    /// flake reference.
    ///
    /// # Errors
    /// The target cannot be resolved. The error tells what was tried.
    pub fn of(named: Named<'_>) -> Result<Self, TargetError> {
        let target = named.target;
        let is_for_file = named.attribute.is_some() || !named.arguments.is_empty();
        let unless_for_file = |result: Self, what, hint| match is_for_file {
            true => Err(TargetError::NoFile {
                target: target.to_owned(),
                what,
                hint,
            }),
            false => Ok(result),
        };
        let file = |path: PathBuf| {
            let (attribute, arguments) =
                (named.attribute.map(str::to_owned), named.arguments.to_vec());
            Ok(Self::Workflow(Workflow::File {
                path,
                attribute,
                arguments,
            }))
        };
        let flake = |reference: &str, attribute: &str| {
            let attribute = if attribute.is_empty() {
                DEFAULT
            } else {
                attribute
            };
            let flake = Workflow::Flake {
                reference: reference.to_owned(),
                attribute: attribute.to_owned(),
            };
            unless_for_file(
                Self::Workflow(flake),
                "a flake reference",
                "write the attribute of a flake after the `#`, as in `.#ci`",
            )
        };
        let plan = |path: PathBuf| {
            unless_for_file(
                Self::Plan(path),
                "a plan",
                "give the inputs of a workflow by `--input`",
            )
        };
        let is_there = |name: &str| target.join(name).exists();

        if target.is_dir() {
            match target.canonicalize().ok().as_deref().and_then(Path::to_str) {
                // Options for a file select the file, as in nix-build.
                _ if is_for_file && is_there(FILE) => file(target.join(FILE)),
                _ if is_there(PLAN) => plan(target.to_owned()),
                // Use the absolute path: a relative one might be the name of a flake in a registry.
                Some(directory) if is_there(FLAKE) => flake(directory, ""),
                _ if is_there(FILE) => file(target.join(FILE)),
                _ => Err(TargetError::Empty {
                    directory: target.to_owned(),
                    tried: vec![PLAN, FLAKE, FILE],
                }),
            }
        } else if is_something(target) {
            if target
                .extension()
                .is_some_and(|extension| extension == "nix")
            {
                file(target.to_owned())
            } else {
                plan(target.to_owned())
            }
        } else if let Ok(to) = target.read_link() {
            Err(TargetError::Dangling {
                target: target.to_owned(),
                to,
            })
        } else {
            match target.to_str() {
                Some(text) if text.contains('#') || has_scheme(text) => {
                    let (reference, attribute) = text.split_once('#').unwrap_or((text, ""));
                    flake(
                        if reference.is_empty() { "." } else { reference },
                        attribute,
                    )
                }
                _ => Err(TargetError::Nothing {
                    target: target.to_owned(),
                    hint: flake_here(target),
                }),
            }
        }
    }
}

/// Returns whether a path exists. An unreadable path counts as existing, and reading it reports the
/// error.
fn is_something(path: &Path) -> bool {
    use ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    !matches!(fs::metadata(path), Err(error) if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput))
}

/// Returns whether a text begins with a scheme, like a URL (RFC 3986).
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Returns a hint if the target may name an attribute of the flake in the current directory.
fn flake_here(target: &Path) -> Option<String> {
    let name = target.to_str().filter(|name| {
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    })?;
    Path::new(FLAKE)
        .exists()
        .then(|| format!("the current directory has a flake: did you mean `.#{name}`?"))
}

impl Workflow {
    /// Returns this workflow with another attribute. An empty path stands for the whole file.
    pub(super) fn with_attribute(&self, path: &[String]) -> Self {
        let is_plain = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-'".contains(c))
        };
        let written = |name: &String| {
            if is_plain(name) {
                name.clone()
            } else {
                format!("\"{name}\"")
            }
        };
        let attribute = path.iter().map(written).collect::<Vec<_>>().join(".");
        match self.clone() {
            Self::Flake { reference, .. } => Self::Flake {
                reference,
                attribute,
            },
            Self::File {
                path, arguments, ..
            } => Self::File {
                path,
                attribute: Some(attribute).filter(|it| !it.is_empty()),
                arguments,
            },
        }
    }

    /// Returns the attribute, or the path of a file without an attribute.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Flake { attribute, .. }
            | Self::File {
                attribute: Some(attribute),
                ..
            } => attribute.clone(),
            Self::File {
                path,
                attribute: None,
                ..
            } => path.display().to_string(),
        }
    }

    /// Returns whether the workflow is a file without an attribute.
    pub(super) fn is_whole_file(&self) -> bool {
        matches!(
            self,
            Self::File {
                attribute: None,
                ..
            }
        )
    }

    /// Returns the workflow in the form for a shell, without the arguments for its function.
    pub(super) fn on_the_command_line(&self) -> String {
        let written = |word: &str| {
            if word.contains(['"', '\'']) {
                format!("'{}'", word.replace('\'', r"'\''"))
            } else {
                word.to_owned()
            }
        };
        match self {
            Self::File {
                path,
                attribute: Some(attribute),
                ..
            } => format!("{} -A {}", path.display(), written(attribute)),
            other => written(&other.as_arguments()),
        }
    }

    /// Returns the workflow in the form of the command line, without the arguments for its
    /// function.
    fn as_arguments(&self) -> String {
        match self {
            Self::Flake {
                reference,
                attribute,
            } => format!("{reference}#{attribute}"),
            Self::File {
                path,
                attribute: None,
                ..
            } => path.display().to_string(),
            Self::File {
                path,
                attribute: Some(attribute),
                ..
            } => format!("{} -A {attribute}", path.display()),
        }
    }
}

impl fmt::Display for Workflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.as_arguments())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &Path) -> Result<Target, TargetError> {
        Target::of(Named {
            target,
            attribute: None,
            arguments: &[],
        })
    }

    fn flake(reference: &str, attribute: &str) -> Target {
        Target::Workflow(Workflow::Flake {
            reference: reference.into(),
            attribute: attribute.into(),
        })
    }

    fn file(path: PathBuf, attribute: Option<&str>) -> Target {
        Target::Workflow(Workflow::File {
            path,
            attribute: attribute.map(str::to_owned),
            arguments: Vec::new(),
        })
    }

    #[test]
    fn a_missing_path_is_a_flake_reference_if_it_looks_like_one() {
        for (text, reference, attribute) in [
            (".#ci", ".", "ci"),
            ("#ci", ".", "ci"),
            ("#", ".", "default"),
            ("./nowhere#ci", "./nowhere", "ci"),
            ("./nowhere#", "./nowhere", "default"),
            ("nixpkgs#hello", "nixpkgs", "hello"),
            ("github:o/r", "github:o/r", "default"),
            (
                "github:o/r/branch?dir=a#x.y",
                "github:o/r/branch?dir=a",
                "x.y",
            ),
            ("git+https://host/r", "git+https://host/r", "default"),
        ] {
            assert_eq!(
                of(Path::new(text)).unwrap(),
                flake(reference, attribute),
                "{text}"
            );
        }
        for text in ["ci", "plan.json", "./ci", "workflows/ci.nix", "1a:b", ""] {
            let told = of(Path::new(text)).unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("found nothing to run named `{text}`\n")),
                "{told}"
            );
        }
    }

    #[test]
    fn an_existing_path_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let put = |name: &str| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        let plan = put("plan:of#x");
        assert_eq!(of(&plan).unwrap(), Target::Plan(plan));
        let nix = put("ci.nix");
        assert_eq!(of(&nix).unwrap(), file(nix, None));

        let link = dir.join("result");
        std::os::unix::fs::symlink("/nix/store/gone", &link).unwrap();
        let told = of(&link).unwrap_err().to_string();
        assert_eq!(
            told,
            format!(
                "`{}` is a link to `/nix/store/gone`, which does not exist",
                link.display()
            )
        );
        let cycle = dir.join("cycle");
        std::os::unix::fs::symlink(&cycle, &cycle).unwrap();
        assert_eq!(of(&cycle).unwrap(), Target::Plan(cycle));

        let all = dir.join("all");
        assert!(matches!(of(&all), Err(TargetError::Nothing { .. })));
        fs::create_dir(&all).unwrap();
        assert_eq!(
            of(&all).unwrap_err().to_string(),
            format!(
                "nothing to run in the directory `{}`: no plan.json, no flake.nix, no default.nix",
                all.display()
            )
        );
        let default = put("all/default.nix");
        assert_eq!(of(&all).unwrap(), file(default.clone(), None));
        put("all/flake.nix");
        assert_eq!(of(&all).unwrap(), flake(all.to_str().unwrap(), "default"));
        put("all/plan.json");
        assert_eq!(of(&all).unwrap(), Target::Plan(all.clone()));
        let named = Named {
            target: &all,
            attribute: Some("ci"),
            arguments: &[],
        };
        assert_eq!(Target::of(named).unwrap(), file(default, Some("ci")));
    }

    #[test]
    fn options_for_files_are_refused_elsewhere() {
        let arguments = [Argument::Text("a".into(), "b".into())];
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("plan.json"), "").unwrap();
        for (target, what) in [
            (Path::new(".#ci"), "a flake reference"),
            (dir.path(), "a plan"),
        ] {
            let told = Target::of(Named {
                target,
                attribute: None,
                arguments: &arguments,
            })
            .unwrap_err()
            .to_string();
            assert_eq!(
                told,
                format!(
                    "`{}` is {what}: `--attr`, `--arg` and `--argstr` are for .nix files",
                    target.display()
                )
            );
        }
    }
}
