//! `checkout`, against real repositories.

use nixactions_harness::or_skip;

use crate::world::World;

#[test]
fn checkout_tells_checks_out_and_clones() {
    let world = or_skip!(World::with(&["git"]));
    let project = world.project("project", &[("file", "old\n")]);
    world.git(&project, &["tag", "v1"]);
    let first = world.git(&project, &["rev-parse", "--short", "HEAD"]);
    std::fs::write(project.join("file"), "new\n").expect("the file is ours");
    world.git(
        &project,
        &["commit", "--all", "--quiet", "--message=second"],
    );
    let second = world.git(&project, &["rev-parse", "--short", "HEAD"]);
    // Files that are not committed are part of the source tree.
    std::fs::write(project.join("file"), "dirty\n").expect("the file is ours");
    let other = world.project("other", &[("data", "data\n")]);
    world.git(
        &other,
        &["commit", "--allow-empty", "--quiet", "--message=later"],
    );
    world.git(&other, &["branch", "topic", "HEAD~1"]);
    let module = world.project("module", &[("inside", "of the submodule\n")]);
    let with_module = world.project("with-module", &[]);
    let from = format!("file://{}", module.display());
    world.git(
        &with_module,
        &[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            &from,
            "module",
        ],
    );
    world.git(&with_module, &["commit", "--quiet", "--message=module"]);
    let commit = world.git(&other, &["rev-parse", "HEAD"]);
    let at = |reference: &str| {
        world.git(
            &other,
            &["log", "--max-count=1", "--format=At %h %s", reference],
        )
    };
    let url = format!("file://{}", other.display());
    let jobs = format!(
        r#"let
          bare = executors.local {{ name = "bare"; copyRepo = false; }};
          # git serves a repository of root's to another user only if that one says so.
          trust = {{ bash = "git config --global --add safe.directory '*'; git config --global protocol.file.allow always"; }};
        in {{
            tell.steps = [ actions.checkout {{ bash = "cat file"; }} ];
            ref.steps = [ (actions.checkout {{ ref = "v1"; }}) {{ bash = "cat file; git status --short"; }} ];
            clone.steps = [ trust (actions.checkout {{ repository = "{url}"; path = "deep/data"; }}) {{ bash = "cat deep/data/data file; git -C deep/data rev-list --count HEAD"; }} ];
            history.steps = [ trust (actions.checkout {{ repository = "{url}"; path = "data"; depth = 0; }}) {{ bash = "git -C data rev-list --count HEAD"; }} ];
            branch.steps = [ trust (actions.checkout {{ repository = "{url}"; ref = "topic"; path = "data"; }}) ];
            commit = {{ executor = bare; steps = [ trust (actions.checkout {{ repository = "{url}"; ref = "{commit}"; }}) {{ bash = "ls"; }} ]; }};
            submodules.steps = [ trust (actions.checkout {{ repository = "file://{with_module}"; path = "it"; submodules = true; }}) {{ bash = "cat it/module/inside"; }} ];
            without.steps = [ trust (actions.checkout {{ repository = "file://{with_module}"; path = "it"; }}) {{ bash = "ls it/module"; }} ];
            full.steps = [ trust (actions.checkout {{ repository = "{url}"; }}) ];
            unknown.steps = [ (actions.checkout {{ ref = "nowhere"; }}) ];
            none = {{ executor = bare; steps = [ actions.checkout ]; }};
        }}"#,
        with_module = with_module.display(),
    );
    let run = world.run(&project, &jobs, &[]).exits(1);
    assert_eq!(
        run.lines("tell"),
        [&format!("At {second} second"), "dirty"],
        "{run}"
    );
    assert_eq!(
        run.lines("ref"),
        [&format!("At {first} first"), "old"],
        "{run}"
    );
    assert_eq!(
        run.lines("clone"),
        [&at("main"), "data", "dirty", "1"],
        "{run}"
    );
    assert_eq!(run.lines("history"), [&at("main"), "2"], "{run}");
    assert_eq!(run.lines("branch"), [&at("topic")], "{run}");
    assert_eq!(run.lines("submodules")[1..], ["of the submodule"], "{run}");
    assert_eq!(
        (run.verdict("without"), run.lines("without").len()),
        ("success/success".to_owned(), 1),
        "{run}"
    );
    assert_eq!(run.lines("commit"), [&at("main"), "data"], "{run}");
    assert_eq!(
        run.lines("full"),
        [
            "error: the directory . is not empty: clone to another `path`, or use an executor with `copyRepo = false`"
        ],
        "{run}"
    );
    assert_eq!(
        run.lines("unknown"),
        ["error: the source tree has no branch, tag or commit nowhere"],
        "{run}"
    );
    let none = "error: no git repository found: set `repository`, or use an executor with `copyRepo` in a repository";
    assert_eq!(run.lines("none"), [none], "{run}");
    assert_eq!(
        ["full", "unknown", "none"].map(|job| run.verdict(job)),
        ["failure/failure"; 3],
        "{run}"
    );
}
