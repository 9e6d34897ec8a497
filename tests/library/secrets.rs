//! Actions that load secrets: what they load reaches later steps byte for byte, and nobody else.

use std::path::Path;

use nixactions_harness::Finished;

use crate::{
    in_each_world,
    keys::{age, key, sops},
    world::World,
};

in_each_world!(
    sops_files_of_every_format_are_loaded_and_masked with ["sops", "age"],
    age_files_are_loaded_and_masked with ["age"],
    password_managers_are_asked_as_their_commands_want_it with [],
    a_secret_that_cannot_be_loaded_fails_its_step_and_shows_no_value with ["sops", "age"],
    require_env_names_all_that_is_missing with [],
);

/// A value with all that quotes, masks, heredocs and escapes could stumble over.
const NASTY: &str = "first-line \"quoted\" $HOME `id` \\n 50%25\n  second-line 'quoted' # no comment\n\nEND0\nEND1\n::stop-commands::x\n{\nüber-last-line\n";
/// The parts that must stay hidden.
const PARTS: [&str; 5] = [
    "first-line",
    "second-line",
    "END0",
    "stop-commands",
    "ber-last-line",
];

/// Returns a step that keeps these variables in an artifact, and prints them.
fn keep(names: &[&str]) -> String {
    format!(
        "{{ name = \"keep\"; bash = ''
            mkdir out
            names=({})
            for name in \"''${{names[@]}}\"; do
              printf %s \"''${{!name}}\" > \"out/$name\"
              printf '%s\\n' \"''${{!name}}\"
              printf '%s\\n' \"''${{!name}}\" >&2
            done
        ''; }}",
        names.join(" ")
    )
}

fn kept(world: &World, run: &Finished, job: &str, name: &str) -> String {
    String::from_utf8(world.artifact(run, job, job, &format!("out/{name}"))).expect("it was text")
}

fn sops_files_of_every_format_are_loaded_and_masked(world: &World) {
    let (key, public) = key(world, "age.key");
    let yaml: String = NASTY.lines().map(|line| format!("  {line}\n")).collect();
    // Of a block the indentation of the first line is taken away from all.
    let yaml = format!(
        "NASTY: |\n{yaml}PLAIN: plain-of-yaml\nCOUNT: 42\nBIG: \"12345678901234567890\"\nTRUTH: true\nEMPTY: \"\"\n# a comment\n"
    );
    sops(world, &public, "secrets.yaml", "yaml", &yaml);
    let windows = "carriage\r\nreturns\r\n";
    let json = serde_json::json!({ "NASTY": NASTY, "WINDOWS": windows, "api key": "renamed-of-json", "OTHER": "not-asked-for-of-json" });
    sops(world, &public, "secrets.json", "json", &json.to_string());
    sops(
        world,
        &public,
        "secrets.env",
        "dotenv",
        "PLAIN=plain-of-dotenv $x\n# a comment\nQUOTED=\"quoted of\\ndotenv\"\n",
    );
    let project = world.project("project", &[]);
    let here = world.manager().dir().display();
    let job = |name: &str, load: &str, names: &[&str]| {
        format!(
            "{name} = {{ credentials.key = \"{}\"; outputs.{name} = \"out/\"; steps = [ (actions.sopsLoad {{ {load} identity = \"$CREDENTIALS_DIRECTORY/key\"; }}) {} ]; }};",
            key.display(),
            keep(names)
        )
    };
    let jobs = [
        job("yaml", &format!("file = {here}/secrets.yaml;"), &["NASTY", "PLAIN", "COUNT", "BIG", "TRUTH", "EMPTY"]),
        job(
            "json",
            &format!(
                "file = {here}/secrets.json; format = \"json\"; variables = {{ NASTY = \"NASTY\"; WINDOWS = \"WINDOWS\"; KEY = \"api key\"; OTHER = \"NASTY\"; }};"
            ),
            &["NASTY", "KEY", "WINDOWS"],
        ),
        // Someone has all scripts traced.
        job("dotenv", &format!("file = \"{here}/secrets.env\"; format = \"dotenv\"; env.SHELLOPTS = \"xtrace\";"), &["PLAIN", "QUOTED"]),
    ]
    .concat();
    let run = world.run(&project, &format!("{{ {jobs} }}"), &[]).exits(0);
    assert_eq!(kept(world, &run, "yaml", "NASTY"), NASTY);
    assert_eq!(kept(world, &run, "json", "WINDOWS"), windows);
    let rest =
        ["PLAIN", "COUNT", "BIG", "TRUTH", "EMPTY"].map(|name| kept(world, &run, "yaml", name));
    assert_eq!(
        rest,
        ["plain-of-yaml", "42", "12345678901234567890", "true", ""]
    );
    assert_eq!(
        (
            kept(world, &run, "json", "NASTY"),
            kept(world, &run, "json", "KEY")
        ),
        (NASTY.to_owned(), "renamed-of-json".to_owned())
    );
    assert_eq!(
        (
            kept(world, &run, "dotenv", "PLAIN"),
            kept(world, &run, "dotenv", "QUOTED")
        ),
        (
            "plain-of-dotenv $x".to_owned(),
            "quoted of\ndotenv".to_owned()
        )
    );
    assert!(
        run.lines("yaml")
            .contains(&"Loaded BIG, COUNT, EMPTY, NASTY, PLAIN, TRUTH"),
        "{run}"
    );
    assert!(
        run.lines("json")
            .contains(&"Loaded KEY, NASTY, OTHER, WINDOWS"),
        "{run}"
    );
    world.nothing_says(&run, &PARTS);
    world.nothing_says(
        &run,
        &[
            "plain-of",
            "12345678901234567890",
            "of-json",
            "quoted of",
            "dotenv $x",
            "carriage",
            "returns",
        ],
    );
    assert!(run.lines("dotenv").contains(&"+ set -o nounset"), "{run}");
    // A value that is too short to be hidden hides nothing else.
    assert!(run.lines("yaml").contains(&"42"), "{run}");
}

fn age_files_are_loaded_and_masked(world: &World) {
    let (key, public) = key(world, "age.key");
    let project = world.project("project", &[]);
    for (name, text) in [
        (
            "token.age",
            "# of the server\nexport TOKEN=token-of-age\nMULTI=\"one of-age\\ntwo of-age\"\n"
                .to_owned(),
        ),
        (
            "json.age",
            serde_json::json!({ "NASTY": NASTY }).to_string(),
        ),
    ] {
        age(world, &public, &format!("project/{name}"), &text);
    }
    world.git(&project, &["add", "--all"]);
    let jobs = format!(
        "{{
            lines = {{ credentials.key = \"{key}\"; outputs.lines = \"out/\"; steps = [
                (actions.ageDecrypt {{ file = \"token.age\"; identity = \"$CREDENTIALS_DIRECTORY/key\"; }}) {} ]; }};
            json = {{ credentials.key = \"{key}\"; outputs.json = \"out/\"; steps = [
                (actions.ageDecrypt {{ file = {project}/json.age; identity = \"$CREDENTIALS_DIRECTORY/key\"; format = \"json\"; }}) {} ]; }};
        }}",
        keep(&["TOKEN", "MULTI"]),
        keep(&["NASTY"]),
        key = key.display(),
        project = project.display(),
    );
    let run = world.run(&project, &jobs, &[]).exits(0);
    assert_eq!(
        (
            kept(world, &run, "lines", "TOKEN"),
            kept(world, &run, "lines", "MULTI")
        ),
        (
            "token-of-age".to_owned(),
            "one of-age\ntwo of-age".to_owned()
        )
    );
    assert_eq!(kept(world, &run, "json", "NASTY"), NASTY);
    world.nothing_says(&run, &PARTS);
    world.nothing_says(&run, &["of-age"]);
}

fn password_managers_are_asked_as_their_commands_want_it(world: &World) {
    let project = world.project("project", &[]);
    let tokens = world.secret("tokens.env", "VAULT_TOKEN=token-of-vault\nOP_SERVICE_ACCOUNT_TOKEN=token-of-op\nBW_SESSION=session-of-bw\n");
    let job = |name: &str, load: &str, names: &[&str]| {
        format!(
            "{name} = {{ credentials.env = \"{}\"; envFrom = [ (envProviders.file {{ path = \"$CREDENTIALS_DIRECTORY/env\"; required = true; }}) ];
                outputs.{name} = \"out/\"; steps = [ {load} {} ]; }};",
            tokens.display(),
            keep(names)
        )
    };
    let addr = "addr = \"https://vault.example.org\";";
    let jobs = [
        job("vault", &format!("(actions.vaultLoad {{ path = \"secret/ci\"; {addr} }})"), &["VAULT_KEY", "VAULT_MULTI"]),
        job("old", "(actions.vaultLoad { path = \"old/ci\"; env.VAULT_ADDR = \"https://vault.example.org\"; })", &["VAULT_OLD"]),
        job("op", "(actions.opLoad { vault = \"ci runners\"; item = \"deploy\"; })", &["username", "password"]),
        job("spoken", "(actions.opLoad { vault = \"ci runners\"; item = \"spoken\"; variables.API_KEY = \"api key\"; })", &["API_KEY"]),
        job("bw", "(actions.bwLoad { itemId = \"5c1f2b6e-1111-2222-3333-444444444444\"; })", &["BW_KEY", "BW_EMPTY"]),
    ]
    .concat();
    let run = world.run(&project, &format!("{{ {jobs} }}"), &[]).exits(0);
    let kept = |job: &str, name: &str| kept(world, &run, job, name);
    assert_eq!(
        (kept("vault", "VAULT_KEY"), kept("vault", "VAULT_MULTI")),
        (
            "hunter-of-vault".to_owned(),
            "first-of-vault\nsecond-of-vault\n".to_owned()
        )
    );
    assert_eq!(kept("old", "VAULT_OLD"), "hunter-of-old-vault");
    assert_eq!(
        (kept("op", "username"), kept("op", "password")),
        ("robot-of-op".to_owned(), "hunter-of-op".to_owned())
    );
    assert_eq!(kept("spoken", "API_KEY"), "hunter-of-spoken-op");
    assert_eq!(
        (kept("bw", "BW_KEY"), kept("bw", "BW_EMPTY")),
        ("hunter-of-bw".to_owned(), String::new())
    );
    assert!(
        run.lines("op").contains(&"Loaded password, username"),
        "a name without a value is not a variable: {run}"
    );
    world.nothing_says(
        &run,
        &["of-vault", "of-old-vault", "of-op", "of-bw", "of-spoken-op"],
    );
}

fn a_secret_that_cannot_be_loaded_fails_its_step_and_shows_no_value(world: &World) {
    let ((key, public), (other, _)) = (key(world, "age.key"), key(world, "other.key"));
    sops(world, &public, "good.yaml", "yaml", "KEY: hunter-of-good\n");
    sops(
        world,
        &public,
        "nested.yaml",
        "yaml",
        "KEY:\n  inner: hunter-of-nested\n",
    );
    sops(
        world,
        &public,
        "name.yaml",
        "yaml",
        "a key: hunter-of-name\n",
    );
    sops(
        world,
        &public,
        "number.yaml",
        "yaml",
        "KEY: 9007199254740993\n",
    );
    let project = world.project("project", &[]);
    age(world, &public, "line.age", "A=1\nhunter-of-line\n");
    age(world, &public, "quote.age", "A=\"hunter-of-quote\n");
    age(world, &public, "text.age", "\"hunter-of-text\"");
    let here = world.manager().dir().display();
    let job = |name: &str, load: &str, key: &Path| {
        format!(
            "{name} = {{ credentials.key = \"{}\"; steps = [ ({load}) {{ bash = \"echo ran\"; }} ]; }};",
            key.display()
        )
    };
    let identity = "identity = \"$CREDENTIALS_DIRECTORY/key\";";
    let sops = |name: &str, key: &Path| {
        job(
            name,
            &format!("actions.sopsLoad {{ file = {here}/{name}.yaml; {identity} }}"),
            key,
        )
    };
    let age = |name: &str, format: &str| {
        job(
            name,
            &format!(
                "actions.ageDecrypt {{ file = {here}/{name}.age; {identity} format = \"{format}\"; }}"
            ),
            &key,
        )
    };
    let jobs = [
        sops("nested", &key),
        sops("name", &key),
        sops("number", &key),
        sops("good", &other),
        format!(
            "later = {{ credentials.key = \"{}\"; steps = [ (actions.sopsLoad {{ file = {here}/good.yaml; {identity} }}) {{ bash = \"exit 1\"; }} ]; }};",
            key.display()
        ),
        age("line", "dotenv"),
        age("quote", "dotenv"),
        age("text", "json"),
        job("missing", &format!("actions.sopsLoad {{ file = {here}/good.yaml; {identity} variables.A = \"B\"; }}"), &key),
        job("twice", "actions.opLoad { vault = \"ci runners\"; item = \"twice\"; env.OP_SERVICE_ACCOUNT_TOKEN = \"token-of-op\"; }", &key),
        job("locked", "actions.bwLoad { itemId = \"x\"; env.BW_SESSION = \"no\"; }", &key),
        job("variable", "actions.sopsLoad { file = \"$NOWHERE/x\"; }", &key),
    ]
    .concat();
    let run = world.run(&project, &format!("{{ {jobs} }}"), &[]).exits(1);
    let failed = |job: &str, said: &str| {
        assert_eq!(run.verdict(job), "failure/failure", "{run}");
        assert!(
            run.lines(job).iter().any(|line| line.contains(said)),
            "`{job}` does not say `{said}`: {run}"
        );
        assert!(!run.lines(job).contains(&"ran"), "{run}");
    };
    failed(
        "nested",
        "nested.yaml: `KEY` is an object: only texts, numbers and booleans are variables",
    );
    failed(
        "name",
        "name.yaml: invalid variable name `a key`: rename it, or choose with `variables = { NAME = \"a key\"; }`",
    );
    failed(
        "number",
        "number.yaml: `KEY` is too large a number: write it in quotes",
    );
    failed("line", "line.age: line 2: is not `NAME=value`");
    failed(
        "quote",
        "quote.age: line 1: the quote is not closed, or something follows it",
    );
    failed("text", "text.age: has no variables");
    failed("missing", "good.yaml: has no `B`, only: KEY");
    failed(
        "twice",
        "1Password's ci runners/twice: has several fields `KEY`",
    );
    failed("locked", "Vault is locked.");
    failed("variable", "NOWHERE: unbound variable");
    assert_eq!(run.verdict("good"), "failure/failure", "{run}");
    // The workspace of a job that failed is kept, and in it what jq was called with: it has all
    // secrets in its hands, and none on its command line.
    assert_eq!(
        run.steps("later")[0],
        "load from sops success/success",
        "{run}"
    );
    let called_with = world
        .manager()
        .run_dir(&run.id)
        .join("jobs/later/work/workspace/called-with");
    assert!(
        std::fs::read_to_string(&called_with).is_ok_and(|text| text.contains("heredocs")),
        "`{}`: {run}",
        called_with.display()
    );
    world.nothing_says(
        &run,
        &["hunter-of", "9007199254740993", "one-of-op", "two-of-op"],
    );
}

fn require_env_names_all_that_is_missing(world: &World) {
    let project = world.project("project", &[]);
    let jobs = "{
        good = { env = { A = \"here\"; B = \"here\"; }; steps = [ (actions.requireEnv [ \"A\" \"B\" ]) { bash = \"echo ran\"; } ]; };
        bad = { env = { A = \"here\"; C = \"\"; }; steps = [ (actions.requireEnv [ \"A\" \"B\" \"C\" ]) { bash = \"echo ran\"; } ]; };
    }";
    let run = world.run(&project, jobs, &[]).exits(1);
    assert_eq!(
        (run.lines("good"), run.lines("bad")),
        (vec!["ran"], vec!["error: not set: B C"]),
        "{run}"
    );
}
