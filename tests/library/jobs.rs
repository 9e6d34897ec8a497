//! Whole jobs.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use nixactions_harness::or_skip;

use crate::world::World;

const DOCKERFILE: &str = "FROM scratch\nARG RELEASE\nLABEL release=$RELEASE\nCOPY hello /hello\n";

#[test]
fn build_push_is_a_job_that_says_where_it_pushes_and_holds_no_secret() {
    let world = or_skip!(World::with(&[]));
    // As text: a machine without buildah cannot build it.
    let plan = world.eval(
        r#"(mkWorkflow { name = "images"; jobs = {
            test.steps = [ { bash = "true"; } ];
            image = jobs.buildahBuildPush { image = "app"; registry = "registry.example.org/me"; needs = [ "test" ]; timeout = "10m"; env.A = 1; };
            only = jobs.buildahBuildPush { image = "app"; push = false; executor = executors.local { }; };
        }; }).plan.jobs"#,
    );
    assert_eq!(plan["image"]["needs"][0], "test");
    assert_eq!(
        (
            &plan["image"]["timeout"],
            &plan["image"]["executor"],
            &plan["image"]["env"]["A"]
        ),
        (&600.into(), &"buildah".into(), &"1".into())
    );
    let names = |job: &str| {
        plan[job]["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|step| step["name"].as_str().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names("image"), names("only")),
        (vec!["build app", "push app"], vec!["build app"])
    );
    assert_eq!(plan["only"]["executor"], "local");
}

/// A registry of its own, gone when this is dropped.
struct Registry {
    child: Child,
    port: String,
}

impl Registry {
    fn start(world: &World, name: &str, password: &str) -> Self {
        let directory = world.path(name);
        fs::create_dir(&directory).expect("the directory is ours");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nix/stand-ins/registry");
        let mut command = world.command(&[
            "python3",
            program,
            directory.to_str().expect("it is ASCII"),
            "robot",
            password,
        ]);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be run");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("invariant: it is piped"))
            .read_line(&mut port)
            .expect("it prints its port");
        Self {
            child,
            port: port.trim().to_owned(),
        }
    }

    /// Returns the pushed images: names with tags, and digests.
    fn tags(&self, world: &World, name: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(world.path(name).join("tags")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(tag, digest)| (tag.to_owned(), digest.to_owned()))
            .collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_image_is_built_and_pushed_with_each_registrys_own_login() {
    let world = or_skip!(World::with(&["buildah", "python3"]));
    let project = world.project(
        "project",
        &[("app/Dockerfile", DOCKERFILE), ("app/hello", "hello\n")],
    );
    let (one, two) = (
        Registry::start(&world, "one", "password-of-one"),
        Registry::start(&world, "two", "password-of-two"),
    );
    // They speak no TLS.
    let insecure = |registry: &Registry| {
        format!(
            "[[registry]]\nlocation = \"localhost:{}\"\ninsecure = true\n",
            registry.port
        )
    };
    let config = world
        .manager()
        .write("registries.conf", insecure(&one) + &insecure(&two));
    let logins = world.secret("logins.env", "ONE_USER=robot\nONE_PASSWORD=password-of-one\nTWO_USER=robot\nTWO_PASSWORD=password-of-two\n");
    let jobs = format!(
        r#"let
            # `buildah login` looks for that at home only.
            speaks = job: job // {{ steps = [ {{ bash = "install -D {config} ~/.config/containers/registries.conf"; }} ] ++ job.steps; }};
        in {{
            image = speaks (jobs.buildahBuildPush {{
              image = "app";
              tags = [ "latest" "v1" ];
              context = "app";
              buildArgs.RELEASE = "1.0 \"final\"";
              credentials.logins = "{logins}";
              envFrom = [ (envProviders.file {{ path = "$CREDENTIALS_DIRECTORY/logins"; required = true; }}) ];
              registries."localhost:{one}/me" = {{ username = "ONE_USER"; password = "ONE_PASSWORD"; }};
              registry = "localhost:{two}";
              registryUsername = "TWO_USER";
              registryPassword = "TWO_PASSWORD";
            }});
            # Without a login it is the registry that refuses.
            refused = speaks (jobs.buildahBuildPush {{
              image = "localhost:{two}/refused"; context = "app"; needs = [ "image" ];
            }});
            missing = jobs.buildahBuildPush {{ image = "app"; context = "app"; dockerfile = "Other"; push = false; }};
            local = jobs.buildahBuildPush {{ image = "me/app"; context = "app"; push = false; buildahExtraArgs = [ "--quiet" ]; }};
        }}"#,
        config = config.display(),
        logins = logins.display(),
        one = one.port,
        two = two.port,
    );
    let run = world.run(&project, &jobs, &[]).exits(1);
    assert_eq!(
        run.steps("image")[1..],
        ["build app success/success", "push app success/success"],
        "{run}"
    );
    let digest = run.job("image")["outputs"]["digest"]
        .as_str()
        .expect("it has the output")
        .to_owned();
    let pushed = |names: [&str; 2]| names.map(|name| (name.to_owned(), digest.clone())).to_vec();
    assert_eq!(
        one.tags(&world, "one"),
        pushed(["me/app/manifests/latest", "me/app/manifests/v1"]),
        "{run}"
    );
    assert_eq!(
        two.tags(&world, "two"),
        pushed(["app/manifests/latest", "app/manifests/v1"]),
        "{run}"
    );
    assert_eq!(run.verdict("refused"), "failure/failure", "{run}");
    let none = format!(
        "No login to localhost:{}: REGISTRY_USERNAME and REGISTRY_PASSWORD are not both set",
        two.port
    );
    assert!(run.lines("refused").contains(&none.as_str()), "{run}");
    assert_eq!(
        run.verdict("missing"),
        "failure/failure",
        "there is no such file: {run}"
    );
    assert_eq!(
        run.steps("local"),
        ["build me/app success/success"],
        "{run}"
    );
    let local = run.job("local")["outputs"]["digest"]
        .as_str()
        .unwrap_or_default();
    assert!(local.starts_with("sha256:"), "{run}");
    world.nothing_says(&run, &["password-of"]);
}
