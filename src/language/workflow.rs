//! A workflow of Nix: evaluated to its plan, or built.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf, absolute},
};

use super::{
    LanguageError, Workflow,
    command::{Nix, Told},
    target::Argument,
};

/// What of a workflow is its plan.
const PLAN: &str = "plan";

/// Returns the names in the set `set` that are workflows; or null where `wanted` is the name of one, or of what cannot be evaluated.
const WORKFLOWS: &str = "
    let is = name: builtins.tryEval (let value = set.${name}; in builtins.isAttrs value && value ? plan && value ? extend);
    in if set ? ${wanted} && (let it = is wanted; in it.value || !it.success) then null
       else builtins.filter (name: (is name).value) (builtins.attrNames set)";

impl Workflow {
    /// Evaluates the workflow and returns its plan's text. Nothing is built for it.
    ///
    /// # Errors
    /// Fails when Nix does, which has said why, or there is no such workflow.
    pub async fn plan(&self) -> Result<Vec<u8>, LanguageError> {
        let nix = match self {
            Self::Flake { .. } => Nix::command("eval").args(["--json"]).args(self.inner(PLAN).arguments()),
            Self::File { .. } => Nix::program("nix-instantiate").args(["--eval", "--strict", "--json"]).args(self.inner(PLAN).arguments()),
        };
        self.told(&nix, "evaluate").await
    }

    /// Builds the workflow and returns what was built, a path in the store. `link` will lead there, and keeps it from being collected
    /// from the moment that it is there.
    ///
    /// # Errors
    /// Fails when Nix does, which has said why, or there is no such workflow.
    pub async fn build(&self, link: &Path) -> Result<PathBuf, LanguageError> {
        let nix = match self {
            Self::Flake { .. } => Nix::command("build").args(self.arguments()).arg("--out-link").arg(link),
            Self::File { .. } => {
                let derivation = self.instantiate(link).await?;
                Nix::program("nix-store").arg("--realise").arg(derivation).arg("--add-root").arg(link).arg("--indirect")
            }
        };
        self.told(&nix, "build").await?;
        let path = std::fs::read_link(link).map_err(|source| LanguageError::Start { program: "nix", source })?;
        if path.join("plan.json").exists() { Ok(path) } else { Err(LanguageError::NoPlan { workflow: self.clone(), path }) }
    }

    /// Evaluates a file to the derivation of one workflow, kept by a link of its own: nix-build would build all that there are.
    async fn instantiate(&self, link: &Path) -> Result<PathBuf, LanguageError> {
        let link = link.with_extension("drv");
        let nix = Nix::program("nix-instantiate").args(self.arguments()).arg("--add-root").arg(&link).arg("--indirect");
        // A line each.
        match self.told(&nix, "evaluate").await?.iter().filter(|byte| **byte == b'\n').count() {
            1 => Ok(link),
            _ => Err(LanguageError::NoWorkflow { workflow: self.clone(), known: self.others().await?.unwrap_or_default() }),
        }
    }

    /// Runs a program of Nix before the user's eyes, and returns what it printed to standard output. Where it fails, the error says what is
    /// at the bottom of it: that there is no such workflow, or none was named.
    async fn told(&self, nix: &Nix, action: &'static str) -> Result<Vec<u8>, LanguageError> {
        let ended = nix.run(Told::User).await?;
        if ended.status.success() {
            return Ok(ended.stdout);
        }
        let is_whole_file = matches!(self, Self::File { attribute: None, .. });
        match self.others().await {
            Ok(Some(known)) if !(is_whole_file && known.is_empty()) => Err(LanguageError::NoWorkflow { workflow: self.clone(), known }),
            Ok(_) | Err(_) => Err(LanguageError::Failed { action, workflow: self.clone(), status: ended.status }),
        }
    }

    /// Returns the workflows that there are in the place of this one; `None` where this one is there, or it cannot be known.
    async fn others(&self) -> Result<Option<Vec<String>>, LanguageError> {
        let nix = match self {
            // What is further inside may be anything.
            Self::Flake { attribute, .. } | Self::File { attribute: Some(attribute), .. } if attribute.contains('.') => return Ok(None),
            Self::Flake { reference, attribute } => {
                let set = "all.${builtins.currentSystem} or { }";
                let function = format!("all: let set = {set}; wanted = {}; in {WORKFLOWS}", quoted(attribute));
                // The system is not known otherwise.
                Nix::command("eval").args(["--json", "--impure", &format!("{reference}#packages"), "--apply", &function])
            }
            Self::File { path, attribute, arguments } => {
                let wanted = quoted(attribute.as_deref().unwrap_or_default());
                let expression = format!("let set = {}; wanted = {wanted}; in {WORKFLOWS}", called(path, arguments));
                Nix::program("nix-instantiate").args(["--eval", "--strict", "--json", "--expr", &expression])
            }
        };
        let ended = nix.run(Told::Nobody).await?;
        let known: Option<Vec<String>> = serde_json::from_slice(&ended.stdout).unwrap_or_default();
        match self {
            Self::Flake { .. } if known.is_some() => {
                // It may be no package, and a workflow all the same.
                let nix = Nix::command("eval").args(["--json"]).args(self.arguments()).args(["--apply", "value: value ? extend"]);
                let is_there = nix.run(Told::Nobody).await?.stdout.starts_with(b"true");
                Ok(known.filter(|_| !is_there))
            }
            _ => Ok(known),
        }
    }

    /// Returns the arguments of Nix's programs that name the workflow.
    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Flake { reference, attribute } => vec![format!("{reference}#{attribute}")],
            Self::File { path, attribute, arguments } => {
                let path = absolute(path).unwrap_or_else(|_| path.clone());
                let mut argv = vec![path.to_string_lossy().into_owned()];
                argv.extend(attribute.iter().flat_map(|attribute| ["--attr".to_owned(), attribute.clone()]));
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

    /// Returns an attribute of this one.
    fn inner(&self, name: &str) -> Self {
        let below = |attribute: &str| format!("{attribute}.{name}");
        match self.clone() {
            Self::Flake { reference, attribute } => Self::Flake { reference, attribute: below(&attribute) },
            Self::File { path, attribute, arguments } => {
                let attribute = attribute.map_or_else(|| name.to_owned(), |attribute| below(&attribute));
                Self::File { path, attribute: Some(attribute), arguments }
            }
        }
    }
}

/// Returns the expression of what a file evaluates to, a function called with those arguments that it takes, as Nix does it.
fn called(path: &Path, arguments: &[Argument]) -> String {
    let mut given = String::new();
    for argument in arguments {
        // Writing to a string cannot fail.
        let _ = match argument {
            Argument::Expression(name, value) => write!(given, "{} = ({value}); ", quoted(name)),
            Argument::Text(name, value) => write!(given, "{} = {}; ", quoted(name), quoted(value)),
        };
    }
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let file = format!("import (/. + {})", quoted(&path.to_string_lossy()));
    format!(
        "(let file = {file}; in if builtins.isFunction file then file (builtins.intersectAttrs (builtins.functionArgs file) {{ {given} }}) else file)"
    )
}

/// Returns a text as Nix writes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_named_as_nix_wants_it() {
        let flake = Workflow::Flake { reference: "github:o/r".into(), attribute: "ci".into() };
        assert_eq!(flake.inner(PLAN).arguments(), ["github:o/r#ci.plan"]);
        let arguments = vec![Argument::Expression("n".into(), "1 + 1".into()), Argument::Text("s".into(), "x".into())];
        let file = Workflow::File { path: "/ci.nix".into(), attribute: None, arguments };
        assert_eq!(file.arguments(), ["/ci.nix", "--arg", "n", "1 + 1", "--argstr", "s", "x"]);
        assert_eq!(file.inner(PLAN).arguments()[..3], ["/ci.nix", "--attr", "plan"]);
        assert_eq!(file.with_attribute("a.b").inner(PLAN).arguments()[2], "a.b.plan");
    }

    #[test]
    fn texts_are_quoted_for_nix() {
        assert_eq!(quoted(r#"a"b\c${d}"#), r#""a\"b\\c\${d}""#);
        let expression = called(Path::new("/a b"), &[Argument::Text("n".into(), "x".into())]);
        assert!(expression.contains(r#"import (/. + "/a b")"#) && expression.contains(r#""n" = "x";"#), "{expression}");
    }
}
