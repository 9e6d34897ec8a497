//! Tools for later steps, and npm with a real package of the registry.

use nixactions_harness::{Skip, or_skip};

use crate::world::World;

#[test]
fn tools_are_in_the_path_of_later_steps() {
    let world = or_skip!(World::with(&[
        "node", "npm", "python3", "cargo", "rustc", "cc"
    ]));
    let project = world.project(
        "project",
        &[("src/main.rs", "fn main() { println!(\"compiled\"); }\n")],
    );
    let look = |program: &str| format!("{{ bash = \"type -P {program}; {program} --version\"; }}");
    let jobs = format!(
        r#"{{
            node.steps = [ actions.setupNode {node} ];
            node20.steps = [ (actions.setupNode {{ version = 20; }}) {node} ];
            python.steps = [ actions.setupPython {python} ];
            python311.steps = [ (actions.setupPython {{ version = "3.11"; }}) {python} ];
            given.steps = [ (actions.setupPython {{ package = pkgs.python311; }}) {python} ];
            # The toolchain is one of root's own.
            rust = {{ executor = executors.systemd {{ name = "host"; sandbox = "none"; }};
              steps = [ actions.setupRust {rustc} {{ bash = "rustc src/main.rs -o main; ./main; type -P cc"; }} ]; }};
            shell.steps = [ (actions.nixShell [ "jq" pkgs.git "python3Packages.sample" ]) {{ bash = "type -P jq git env; jq --version"; }} ];
            # The last comes first.
            both.steps = [ (actions.setupPython {{ version = "3.11"; }}) actions.setupPython {python} ];
        }}"#,
        node = look("node"),
        python = look("python3"),
        rustc = look("rustc"),
    );
    let run = world.run(&project, &jobs, &[]).exits(0);
    let store = world.path("nix/store").display().to_string();
    let found = |job: &str, line: usize, package: &str, program: &str| {
        let path = run.lines(job)[line];
        assert!(
            path.starts_with(&store) && path.ends_with(&format!("-{package}/bin/{program}")),
            "{path}: {run}"
        );
    };
    found("node", 1, "nodejs", "node");
    found("node20", 1, "nodejs_20", "node");
    found("python", 1, "python3", "python3");
    found("python311", 1, "python311", "python3");
    found("given", 1, "python311", "python3");
    found("rust", 2, "rustc", "rustc");
    found("rust", 5, "cc", "cc");
    found("shell", 1, "jq", "jq");
    found("shell", 2, "git", "git");
    found("shell", 3, "sample", "env");
    found("both", 2, "python3", "python3");
    // Each says what it has added.
    assert!(
        run.lines("node")[0].starts_with("node v") && run.lines("node")[0].contains(", npm "),
        "{run}"
    );
    assert_eq!(run.lines("python")[0], run.lines("python")[2], "{run}");
    assert!(
        run.lines("rust")[0].starts_with("rustc ") && run.lines("rust")[1].starts_with("cargo "),
        "{run}"
    );
    assert_eq!(run.lines("rust")[4], "compiled", "{run}");
    assert_eq!(run.lines("shell")[0], "Added jq, git, sample", "{run}");
}

/// A package with a dependency from the registry, which its test uses.
const PACKAGE: &str = r#"{
  "name": "sample", "version": "1.0.0", "private": true,
  "scripts": {
    "test": "node -e 'const ms = require(\"ms\"); if (ms(\"2 days\") !== 172800000) process.exit(1); console.log(\"tested\", ...process.argv.slice(1))'",
    "build": "mkdir -p dist && node -p 'process.version' > dist/version && echo built in $NODE_ENV",
    "lint": "echo linted && exit 4"
  },
  "dependencies": { "ms": "2.1.3" }
}
"#;

#[test]
fn npm_installs_tests_builds_and_lints_a_package() {
    let world = or_skip!(World::with(&["node", "npm"]));
    let project = world.project("project", &[("web/package.json", PACKAGE)]);
    let fetched = world
        .command(&[
            "npm",
            "install",
            "--package-lock-only",
            "--prefix",
            &world.host("project/web"),
        ])
        .output()
        .expect("npm can be run");
    if !fetched.status.success() {
        return Skip::new(format!(
            "npm's registry cannot be reached: {}",
            String::from_utf8_lossy(&fetched.stderr).trim()
        ))
        .report();
    }
    world.git(&project, &["add", "--all"]);
    let jobs = r#"{
        locked = { outputs.dist = "web/dist"; steps = [
          (actions.setupNode { version = "20"; })
          (actions.npmInstall { workdir = "web"; args = [ "--ignore-scripts" ]; })
          (actions.npmTest { workdir = "web"; args = [ "a b" "--c" "it's \"\$d\" `e` \\f" ]; })
          (actions.npmBuild { workdir = "web"; env.NODE_ENV = "production"; })
          (actions.npmLint { workdir = "web"; name = "style"; continueOnError = true; })
          { bash = "type -P node"; }
        ]; };
        # Without a lock file, without setupNode.
        loose.steps = [
          { bash = "rm web/package-lock.json"; }
          (actions.npmInstall { workdir = "web"; })
          (actions.npmTest { workdir = "web"; })
          { bash = "ls web/node_modules web/package-lock.json"; }
        ];
        broken = { needs = [ "loose" ]; steps = [ { bash = "echo '{' > web/package.json"; } (actions.npmInstall { workdir = "web"; }) ]; };
    }"#;
    let run = world.run(&project, jobs, &[]).exits(1);
    assert!(
        run.lines("locked")
            .contains(&"tested a b --c it's \"$d\" `e` \\f"),
        "{run}"
    );
    assert!(
        run.lines("locked").contains(&"built in production"),
        "{run}"
    );
    assert!(
        String::from_utf8_lossy(&world.artifact(&run, "locked", "dist", "web/dist/version"))
            .starts_with('v'),
        "{run}"
    );
    let steps = run.steps("locked");
    assert_eq!(
        steps[1..4],
        [
            "npm install success/success",
            "npm test success/success",
            "npm build success/success"
        ],
        "{run}"
    );
    assert_eq!(steps[4], "style failure/success: exit status 4", "{run}");
    assert_eq!(
        (run.verdict("locked"), run.verdict("loose")),
        ("success/success".to_owned(), "success/success".to_owned()),
        "{run}"
    );
    assert!(
        run.lines("loose").contains(&"tested") && run.lines("loose").contains(&"ms"),
        "{run}"
    );
    assert_eq!(run.verdict("broken"), "failure/failure", "{run}");
}
