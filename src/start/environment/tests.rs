//! The rules of variables and inputs, with texts as users write them.

use super::*;

fn plan(json: &str) -> Plan {
    serde_json::from_str(json).unwrap()
}

const PLAN: &str = r#"{"version":1,"name":"w","env":{"A":"plan","PATH":"/p"},"passEnv":["TOKEN","HOME"],
    "inputs":{"n":{"type":"number","default":1},"c":{"type":"choice","options":["x","y"],"required":true},"b":{"type":"boolean"}},
    "jobs":{"j":{"env":{"B":"1"},"steps":[{"bash":"true","env":{"C":"1"}}]}}}"#;
const NO_FILES: [&str; 0] = [];

#[test]
fn only_variables_that_the_plan_names_are_taken_and_never_path_or_home() {
    let got = collect(
        &plan(PLAN),
        &[],
        &NO_FILES,
        &NO_FILES,
        &["c=x".into()],
        |name| Some(format!("caller {name}").into()),
    )
    .unwrap();
    assert_eq!(got.taken, ["A", "B", "C", "TOKEN"]);
    assert_eq!(got.overrides["TOKEN"], "caller TOKEN");
}

#[test]
fn env_outranks_env_file_outranks_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(
        &file,
        "# comment\nexport A=\"file \\\"quoted\\\"\"\nB='it''s'\nTOKEN=x=y\n",
    )
    .unwrap();
    let got = collect(
        &plan(PLAN),
        &["B=flag".into()],
        &[&file],
        &NO_FILES,
        &["c=x".into()],
        |_| Some("caller".into()),
    )
    .unwrap();
    assert_eq!(
        (
            &*got.overrides["A"],
            &*got.overrides["B"],
            &*got.overrides["C"],
            &*got.overrides["TOKEN"]
        ),
        ("file \"quoted\"", "flag", "caller", "x=y")
    );
}

#[test]
fn secret_variables_are_kept_apart_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (file, secret) = (dir.path().join("env"), dir.path().join("secret"));
    std::fs::write(&file, "A=file\nB=file\n").unwrap();
    std::fs::write(&secret, "export B='secret'\nC=secret\nTOKEN=secret\n").unwrap();
    let got = collect(
        &plan(PLAN),
        &["C=flag".into()],
        &[&file],
        &[&secret],
        &["c=x".into()],
        |_| Some("caller".into()),
    )
    .unwrap();
    let env = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Env>()
    };
    assert_eq!(got.overrides, env(&[("A", "file"), ("C", "flag")]));
    assert_eq!(got.secrets, env(&[("B", "secret"), ("TOKEN", "secret")]));
    assert_eq!(got.taken, ["A"]);
    std::fs::write(
        &secret,
        (0..6)
            .map(|n| format!("S{n}={}\n", "x".repeat(100 << 10)))
            .collect::<String>(),
    )
    .unwrap();
    let faults = collect(
        &plan(PLAN),
        &[],
        &NO_FILES,
        &[&secret],
        &["c=x".into()],
        |_| None,
    )
    .unwrap_err();
    assert!(
        faults[0]
            .to_string()
            .starts_with("the secret variables have "),
        "{}",
        faults[0]
    );
}

#[test]
fn all_faults_of_inputs_are_reported_at_once() {
    let faults = collect(
        &plan(PLAN),
        &["=x".into(), "A".into()],
        &NO_FILES,
        &NO_FILES,
        &["n=one".into(), "z=1".into()],
        |_| None,
    )
    .unwrap_err();
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "invalid variable name ``",
            "`--env A` is not of the form NAME=value",
            "the plan has no input `z`",
            "input `c` is required",
            "input `n` is \"one\", expected a number",
        ]
    );
}

#[test]
fn variables_that_the_engine_sets_are_refused() {
    let given = [
        "INPUT_N=1",
        "NIXACTIONS_JOB=x",
        "NEEDS_J_RESULT=x",
        "FREE=1",
    ];
    let faults = collect(
        &plan(PLAN),
        &given.map(str::to_owned),
        &NO_FILES,
        &NO_FILES,
        &["c=x".into()],
        |_| None,
    )
    .unwrap_err();
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "variable `INPUT_N` cannot be set: the engine sets it from the inputs",
            "variable `NEEDS_J_RESULT` cannot be set: the engine sets it from the needs",
            "variable `NIXACTIONS_JOB` cannot be set: the engine sets it in every step",
        ]
    );
    assert_eq!(
        faults[0].hint(),
        Some("set the input with `--input NAME=VALUE`")
    );
}

#[test]
fn inputs_reach_steps_with_their_defaults() {
    let got = collect(
        &plan(PLAN),
        &[],
        &NO_FILES,
        &NO_FILES,
        &["c=y".into()],
        |_| None,
    )
    .unwrap();
    assert_eq!(
        got.inputs,
        Env::from([
            ("INPUT_C".into(), "y".into()),
            ("INPUT_N".into(), "1".into())
        ])
    );
}

#[test]
fn values_that_no_process_can_take_are_refused() {
    let faults = collect(
        &plan(PLAN),
        &[format!("A={}", "x".repeat(200 << 10)), "B=a\0b".into()],
        &NO_FILES,
        &NO_FILES,
        &["c=x".into()],
        |_| None,
    )
    .unwrap_err();
    assert_eq!(faults.len(), 2);
}

#[test]
fn a_bad_line_of_an_env_file_is_reported_without_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, "A=1\nsecret\n").unwrap();
    let faults = collect(
        &plan(PLAN),
        &[],
        &[&file],
        &NO_FILES,
        &["c=x".into()],
        |_| None,
    )
    .unwrap_err();
    assert!(
        faults[0]
            .to_string()
            .ends_with("env`, line 2: is not of the form NAME=value"),
        "{}",
        faults[0]
    );
}

#[test]
fn values_that_are_not_utf8_are_reported_with_their_place() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, b"A=1\n# two\nB=\xff\n").unwrap();
    let caller = |name: &str| (name == "TOKEN").then(|| OsString::from_vec(vec![0xff]));
    let faults = collect(
        &plan(PLAN),
        &[],
        &[&file],
        &NO_FILES,
        &["c=x".into()],
        caller,
    )
    .unwrap_err();
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts[0],
        "variable `TOKEN` of your environment is not UTF-8"
    );
    assert!(
        texts[1].ends_with("env`, line 3: is not UTF-8"),
        "{texts:?}"
    );
}

#[test]
fn an_endless_file_is_refused() {
    let faults = collect(
        &plan(PLAN),
        &[],
        &["/dev/zero"],
        &NO_FILES,
        &["c=x".into()],
        |_| None,
    )
    .unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "failed to read `/dev/zero`: it is larger than 16 MiB"
    );
}
