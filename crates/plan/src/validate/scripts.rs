//! Checks what a step executes and where: a command or a script, its shell, its directory.

use nixactions_expression::template::{self, Segment};

use super::expressions::Scope;
use crate::{
    fault::{At, Refusal, Sink, quoted},
    model::{Argv, Defaults, Post, SCRIPT_FILE, Shell, Step},
    rules,
};

/// Beginnings of a path that a shell would replace by the workspace's.
const WORKSPACE_VARIABLES: [&str; 4] = [
    "$NIXACTIONS_WORKSPACE",
    "${NIXACTIONS_WORKSPACE}",
    "$GITHUB_WORKSPACE",
    "${GITHUB_WORKSPACE}",
];

/// The command or script of a step or of its clean-up.
pub(super) struct Work<'a> {
    run: Option<&'a Argv>,
    bash: Option<&'a str>,
    script: Option<&'a str>,
    shell: Option<&'a Shell>,
}

impl<'a> From<&'a Step> for Work<'a> {
    fn from(step: &'a Step) -> Self {
        Self {
            run: step.run.as_ref(),
            bash: step.bash.as_deref(),
            script: step.script.as_deref(),
            shell: step.shell.as_ref(),
        }
    }
}

impl<'a> From<&'a Post> for Work<'a> {
    fn from(post: &'a Post) -> Self {
        Self {
            run: post.run.as_ref(),
            bash: post.bash.as_deref(),
            script: post.script.as_deref(),
            shell: post.shell.as_ref(),
        }
    }
}

impl Work<'_> {
    pub(super) fn check(&self, at: &At<'_>, sink: &mut Sink) {
        let refuse = |found: &str| Refusal::new(found, "exactly one of them");
        match (self.run, self.bash, self.script) {
            (Some(_), Some(_), _) => sink.add(at, || refuse("both `run` and `bash`")),
            (Some(_), None, Some(_)) => sink.add(at, || refuse("both `run` and `script`")),
            (None, Some(_), Some(_)) => sink.add(at, || {
                refuse("both `bash` and `script`").hint("`script` is another name for `bash`")
            }),
            (None, None, None) => sink.add(at, || refuse("neither `run` nor `bash`")),
            (Some(run), None, None) => super::argv(run, &at.key("run"), sink),
            (None, Some(text), None) => sink.check(&at.key("bash"), rules::script(text)),
            (None, None, Some(text)) => sink.check(&at.key("script"), rules::script(text)),
        }
        let Some(shell) = self.shell else { return };
        let at_shell = at.key("shell");
        if self.run.is_some() && self.bash.or(self.script).is_none() {
            sink.add(&at_shell, || {
                Refusal::new("a shell beside `run`", "a shell beside a script only")
                    .hint("`run` is executed without a shell")
            });
        }
        check_shell(shell, &at_shell, sink);
    }
}

/// Checks the defaults of a workflow or of a job.
pub(super) fn check_defaults(
    defaults: Option<&Defaults>,
    scope: &Scope,
    at: &At<'_>,
    sink: &mut Sink,
) {
    let Some(defaults) = defaults else { return };
    if let Some(shell) = &defaults.shell {
        check_shell(shell, &at.key("shell"), sink);
    }
    check_workdir(defaults.workdir.as_deref(), scope, &at.key("workdir"), sink);
}

/// Checks that a shell is given its script.
fn check_shell(shell: &Shell, at: &At<'_>, sink: &mut Sink) {
    let Shell::Argv(argv) = shell else { return };
    super::argv(argv, at, sink);
    let Some((program, arguments)) = argv.split_first() else {
        return;
    };
    if program.contains(SCRIPT_FILE) {
        sink.add(&at.index(0), || {
            Refusal::new(
                format!("`{SCRIPT_FILE}` in the place of the executable"),
                "an executable that is given the script",
            )
        });
    } else if !arguments.iter().any(|part| part.contains(SCRIPT_FILE)) {
        sink.add(at, || {
            let mut with_file = argv.clone();
            with_file.push(SCRIPT_FILE.to_owned());
            Refusal::new(
                format!("a shell without `{SCRIPT_FILE}`"),
                format!("`{SCRIPT_FILE}` in an argument, for the script's file"),
            )
            .hint(format!("write {}", serde_json::json!(with_file)))
        });
    }
}

/// Checks a directory in the workspace. The run checks the values of its
/// expressions.
pub(super) fn check_workdir(workdir: Option<&str>, scope: &Scope, at: &At<'_>, sink: &mut Sink) {
    let Some(workdir) = workdir else { return };
    let variable = WORKSPACE_VARIABLES.iter().find_map(|variable| {
        let rest = workdir.strip_prefix(variable)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    });
    if let Some(rest) = variable {
        return sink.add(at, || {
            Refusal::new(quoted(workdir), "a path inside the workspace").hint(format!(
                "no shell reads it: write `${{{{ nixactions.workspace }}}}{rest}`"
            ))
        });
    }
    if !template::is_template(workdir) {
        let checked = rules::workspace_path(workdir).map_err(|refusal| {
            if workdir.starts_with('/') {
                refusal.hint("an absolute one begins with `${{ nixactions.workspace }}`")
            } else {
                refusal
            }
        });
        return sink.check(at, checked);
    }
    scope.check_text(workdir, at, sink);
    // A name stands for the unknown values.
    let known: Option<String> = template::segments(workdir).ok().map(|segments| {
        let text = |segment: &Segment<'_>| match segment {
            Segment::Text(text) => (*text).to_owned(),
            Segment::Expression(..) => "x".to_owned(),
        };
        segments.iter().map(text).collect()
    });
    if let Some(Err(refusal)) = known.map(|known| rules::workspace_path(&known)) {
        sink.add(at, || Refusal {
            found: quoted(workdir),
            ..refusal
        });
    }
}
