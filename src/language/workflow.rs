//! Evaluates a workflow of Nix to its plan, or builds it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf, absolute},
};

use super::{
    LanguageError, Workflow,
    command::{Nix, Told},
    target::Argument,
};

/// The attribute of a workflow that holds its plan.
const PLAN: &str = "plan";

/// The attribute of a workflow that holds the workflow itself. A set of workflows does not have the
/// attribute. Without it, Nix would evaluate and build everything in a set or list.
const ITSELF: &str = "out";

/// A Nix expression that finds workflows. It follows the path `wanted` from `set`. It returns null
/// if the path leads to a workflow or to a value that cannot be evaluated. Otherwise it returns the
/// paths of the workflows there, or of those nearest to that place. If a set has no workflows, its
/// values that cannot be evaluated count as workflows: Nix tells why when the user names one.
const WORKFLOWS: &str = r#"
    let is = value: builtins.isAttrs value && value ? plan && value ? extend;
        may = value: builtins.tryEval (is value);
        holds = value: builtins.isAttrs value && value.type or null != "derivation";
        inside = at: value:
          let tried = map (name: { inherit name; may = may value.${name}; }) (builtins.attrNames value);
              good = builtins.filter (one: one.may.value) tried;
              broken = builtins.filter (one: !one.may.success) tried; in
          map (one: at ++ [ one.name ]) (if good == [ ] then broken else good);
        known = at: value: if is value then [ at ] else if holds value then inside at value else [ ];
        near = at: value: outer: let inner = known at value; in if inner == [ ] then outer else inner;
        walk = at: value: path: outer:
          let tried = builtins.tryEval (builtins.isFunction value); name = builtins.head path; found = known at value; in
          if !tried.success || tried.value then null
          else if path == [ ] then (if is value then null else near at value outer)
          else if builtins.isAttrs value && value ? ${name} then walk (at ++ [ name ]) (call value.${name}) (builtins.tail path) found
          else near at value outer;
    in walk from set wanted [ ]"#;

impl Workflow {
    /// Evaluates the workflow and returns the text of its plan. Nothing is built.
    ///
    /// # Errors
    /// The evaluation fails, and Nix has printed the reason, or the workflow does not exist.
    pub async fn plan(&self) -> Result<Vec<u8>, LanguageError> {
        let nix = match self {
            Self::Flake { .. } => Nix::command("eval")
                .args(["--json"])
                .args(self.inner(PLAN).arguments()),
            Self::File { .. } => Nix::program("nix-instantiate")
                .args(["--eval", "--strict", "--json"])
                .args(self.inner(PLAN).arguments()),
        }
        .building_nothing();
        let plan = self.told(&nix, "evaluate").await?;
        // A set may have an attribute of this name that is not a plan. For example, a workflow
        // evaluates to its path as a text.
        if plan.starts_with(b"{") {
            Ok(plan)
        } else {
            Err(LanguageError::NoWorkflow {
                workflow: self.clone(),
                known: self.others(true).await?.unwrap_or_default(),
            })
        }
    }

    /// Builds the workflow and returns the store path of the result. The new `link` leads to the
    /// result and keeps Nix from collecting it.
    ///
    /// # Errors
    /// The build fails, and Nix has printed the reason, or the workflow does not exist.
    pub async fn build(&self, link: &Path) -> Result<PathBuf, LanguageError> {
        let nix = match self {
            Self::Flake { .. } => Nix::command("build")
                .args(self.arguments())
                .arg("--out-link")
                .arg(link),
            Self::File { .. } => {
                let derivation = self.instantiate(link).await?;
                Nix::program("nix-store")
                    .arg("--realise")
                    .arg(derivation)
                    .arg("--add-root")
                    .arg(link)
                    .arg("--indirect")
            }
        };
        self.told(&nix, "build").await?;
        let path = std::fs::read_link(link).map_err(|source| LanguageError::Start {
            program: "nix",
            source,
        })?;
        if path.join("plan.json").exists() {
            Ok(path)
        } else {
            Err(LanguageError::NoPlan {
                workflow: self.clone(),
                path,
            })
        }
    }

    /// Evaluates a file to the derivation of one workflow. A second link keeps the derivation.
    async fn instantiate(&self, link: &Path) -> Result<PathBuf, LanguageError> {
        let link = link.with_extension("drv");
        let nix = Nix::program("nix-instantiate")
            .args(self.inner(ITSELF).arguments())
            .arg("--add-root")
            .arg(&link)
            .arg("--indirect");
        // Nix prints one line for each derivation.
        match self
            .told(&nix, "evaluate")
            .await?
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
        {
            1 => Ok(link),
            _ => Err(LanguageError::NoWorkflow {
                workflow: self.clone(),
                known: self.others(false).await?.unwrap_or_default(),
            }),
        }
    }

    /// Runs a program of Nix whose standard error the user sees, and returns its standard output.
    /// If the program fails, the error tells whether the workflow does not exist or was not named.
    async fn told(&self, nix: &Nix, action: &'static str) -> Result<Vec<u8>, LanguageError> {
        let ended = nix.run(Told::User).await?;
        if ended.status.success() {
            return Ok(ended.stdout);
        }
        if nix.would_build().await? {
            return Err(LanguageError::NeedsBuild {
                workflow: self.clone(),
            });
        }
        match self.others(nix.builds_nothing()).await {
            Ok(Some(known)) => Err(LanguageError::NoWorkflow {
                workflow: self.clone(),
                known,
            }),
            Ok(_) | Err(_) => Err(LanguageError::Failed {
                action,
                workflow: self.clone(),
                status: ended.status,
            }),
        }
    }

    /// Returns the workflows that exist in the place of this one. Returns `None` if this workflow
    /// exists, or if the answer is unknown.
    async fn others(&self, builds_nothing: bool) -> Result<Option<Vec<Self>>, LanguageError> {
        let wanted = |attribute: &str| match parts(attribute)
            .iter()
            .map(|part| quoted(part))
            .collect::<Vec<_>>()
        {
            parts if parts.is_empty() => "[ ]".to_owned(),
            parts => format!("[ {} ]", parts.join(" ")),
        };
        let nix = match self {
            Self::Flake {
                reference,
                attribute,
            } => {
                let names = wanted(attribute);
                // The path of a flake's output may also start at `packages`.
                let function = format!(
                    "all: let call = value: value; names = {names}; own = all.${{builtins.currentSystem}} or {{ }};
                     whole = builtins.head names == \"packages\" && !(own ? packages); from = if whole then [ \"packages\" ] else [ ];
                     set = if whole then all else own; wanted = if whole then builtins.tail names else names; in {WORKFLOWS}"
                );
                // Only an impure evaluation knows the system.
                Nix::command("eval").args([
                    "--json",
                    "--impure",
                    &format!("{reference}#packages"),
                    "--apply",
                    &function,
                ])
            }
            Self::File {
                path,
                attribute,
                arguments,
            } => {
                let expression = format!(
                    "let {} set = call (import (/. + {})); from = [ ]; wanted = {}; in {WORKFLOWS}",
                    call(arguments),
                    quoted(
                        &absolute(path)
                            .unwrap_or_else(|_| path.clone())
                            .to_string_lossy()
                    ),
                    wanted(attribute.as_deref().unwrap_or_default())
                );
                Nix::program("nix-instantiate").args([
                    "--eval",
                    "--strict",
                    "--json",
                    "--expr",
                    &expression,
                ])
            }
        };
        let quiet = |nix: Nix| {
            if builds_nothing {
                nix.building_nothing()
            } else {
                nix
            }
        };
        let ended = quiet(nix).run(Told::Nobody).await?;
        let known: Option<Vec<Vec<String>>> =
            serde_json::from_slice(&ended.stdout).unwrap_or_default();
        let known = known.map(|known| known.iter().map(|path| self.with_attribute(path)).collect());
        match self {
            Self::Flake { .. } if known.is_some() => {
                // The attribute may be a workflow without being a package.
                let nix = Nix::command("eval")
                    .args(["--json"])
                    .args(self.arguments())
                    .args(["--apply", "value: value ? extend"]);
                let is_there = quiet(nix).run(Told::Nobody).await?;
                let is_there = is_there.stdout.starts_with(b"true");
                Ok(known.filter(|_| !is_there))
            }
            _ => Ok(known),
        }
    }

    /// Returns the arguments that name the workflow for Nix's programs.
    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Flake {
                reference,
                attribute,
            } => vec![format!("{reference}#{attribute}")],
            Self::File {
                path,
                attribute,
                arguments,
            } => {
                let path = absolute(path).unwrap_or_else(|_| path.clone());
                let mut argv = vec![path.to_string_lossy().into_owned()];
                argv.extend(
                    attribute
                        .iter()
                        .flat_map(|attribute| ["--attr".to_owned(), attribute.clone()]),
                );
                for argument in arguments {
                    let (option, name, value) = match argument {
                        Argument::Expression(name, value) => ("--arg", name, value),
                        Argument::Text(name, value) => ("--argstr", name, value),
                    };
                    argv.extend([option.to_owned(), name.clone(), value.clone()]);
                }
                argv
            }
        }
    }

    /// Returns the workflow's attribute `name`.
    fn inner(&self, name: &str) -> Self {
        let below = |attribute: &str| format!("{attribute}.{name}");
        match self.clone() {
            Self::Flake {
                reference,
                attribute,
            } => Self::Flake {
                reference,
                attribute: below(&attribute),
            },
            Self::File {
                path,
                attribute,
                arguments,
            } => {
                let attribute =
                    attribute.map_or_else(|| name.to_owned(), |attribute| below(&attribute));
                Self::File {
                    path,
                    attribute: Some(attribute),
                    arguments,
                }
            }
        }
    }
}

/// Returns the definition of the Nix function `call`. Like Nix, it calls a function with those
/// arguments that the function takes, if none is missing.
fn call(arguments: &[Argument]) -> String {
    let mut given = String::new();
    for argument in arguments {
        // Writing to a string cannot fail.
        let _ = match argument {
            Argument::Expression(name, value) => write!(given, "{} = ({value}); ", quoted(name)),
            Argument::Text(name, value) => write!(given, "{} = {}; ", quoted(name), quoted(value)),
        };
    }
    format!(
        "given = {{ {given}}}; call = value:
         let takes = builtins.functionArgs value; lacks = name: !(takes.${{name}} || given ? ${{name}}); in
         if builtins.isFunction value && !(builtins.any lacks (builtins.attrNames takes)) then value (builtins.intersectAttrs takes given) else value;"
    )
}

/// Splits an attribute's path into names, like Nix. A dot within quotes does not split.
fn parts(attribute: &str) -> Vec<String> {
    let (mut parts, mut is_quoted) = (Vec::new(), false);
    let mut part = String::new();
    for c in attribute.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    if !attribute.is_empty() {
        parts.push(part);
    }
    parts
}

/// Returns a text as a Nix string.
fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace("${", "\\${")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_named_in_the_form_of_each_nix_program() {
        let flake = Workflow::Flake {
            reference: "github:o/r".into(),
            attribute: "ci".into(),
        };
        assert_eq!(flake.inner(PLAN).arguments(), ["github:o/r#ci.plan"]);
        let arguments = vec![
            Argument::Expression("n".into(), "1 + 1".into()),
            Argument::Text("s".into(), "x".into()),
        ];
        let file = Workflow::File {
            path: "/ci.nix".into(),
            attribute: None,
            arguments,
        };
        assert_eq!(
            file.arguments(),
            ["/ci.nix", "--arg", "n", "1 + 1", "--argstr", "s", "x"]
        );
        assert_eq!(
            file.inner(PLAN).arguments()[..3],
            ["/ci.nix", "--attr", "plan"]
        );
        let path = |names: &[&str]| {
            file.with_attribute(
                &names
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(path(&["a", "b"]).inner(PLAN).arguments()[2], "a.b.plan");
        assert_eq!(
            path(&["a.b", "c"]).inner(PLAN).arguments()[2],
            "\"a.b\".c.plan"
        );
        assert_eq!(
            path(&["a.b", "c"]).on_the_command_line(),
            "/ci.nix -A '\"a.b\".c'"
        );
        assert_eq!(path(&[]), file);
        assert_eq!(
            flake.with_attribute(&["a.b".into()]).on_the_command_line(),
            "'github:o/r#\"a.b\"'"
        );
    }

    #[test]
    fn a_dot_within_quotes_does_not_split() {
        assert_eq!(parts("a.b"), ["a", "b"]);
        assert_eq!(parts("\"a.b\".c"), ["a.b", "c"]);
        assert_eq!(parts(""), [""; 0]);
    }

    #[test]
    fn texts_are_quoted_for_nix() {
        assert_eq!(quoted(r#"a"b\c${d}"#), r#""a\"b\\c\${d}""#);
        let expression = call(&[Argument::Text("n".into(), "x".into())]);
        assert!(expression.contains(r#""n" = "x";"#), "{expression}");
    }
}
