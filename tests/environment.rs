//! Where a step's variables come from: the precedence of all levels, and providers.

use nixactions_harness::{
    CommandExt as _, Finished, Manager, SOON, bash, on_shared_managers, with,
};
use serde_json::{Map, Value, json};

on_shared_managers!(
    of_any_two_levels_the_stronger_wins,
    providers_run_in_order_before_the_first_step_and_see_what_earlier_ones_set,
    a_provider_that_fails_fails_its_job_alone_before_any_step,
    a_provider_that_hangs_is_ended_with_its_job,
    a_bad_file_of_a_step_fails_only_that_step,
);

const NONE: [&str; 0] = [];

/// The levels, strongest first.
const LEVELS: [&str; 10] = [
    "option",
    "file",
    "caller",
    "step",
    "stepFrom",
    "written",
    "job",
    "jobFrom",
    "workflow",
    "workflowFrom",
];

/// Returns a provider that is this script.
fn provider(script: &str) -> Value {
    json!(["sh", "-c", script])
}

fn of_any_two_levels_the_stronger_wins(manager: &Manager) {
    let pairs: Vec<(usize, usize)> = (0..LEVELS.len())
        .flat_map(|a| (a + 1..LEVELS.len()).map(move |b| (a, b)))
        .collect();
    // Each pair of levels has a variable that these two set and nobody else.
    let names = |level: &str| -> Vec<String> {
        let at = LEVELS
            .iter()
            .position(|name| *name == level)
            .expect("it is a level");
        pairs
            .iter()
            .filter(|(a, b)| *a == at || *b == at)
            .map(|(a, b)| format!("V_{a}_{b}"))
            .collect()
    };
    let env = |level: &str| -> Map<String, Value> {
        names(level)
            .into_iter()
            .map(|name| (name, Value::from(level)))
            .collect()
    };
    let lines = |level: &str, form: &dyn Fn(&str) -> String| {
        names(level)
            .iter()
            .map(|name| form(name))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let exports = |level: &str| {
        provider(&format!(
            "cat <<'END'\n{}\nEND",
            lines(level, &|name| format!("export {name}=\"{level}\""))
        ))
    };
    let all: Vec<String> = pairs.iter().map(|(a, b)| format!("V_{a}_{b}")).collect();
    let write = format!(
        "cat >> $NIXACTIONS_ENV <<'END'\n{}\nEND",
        lines("written", &|name| format!("{name}=written"))
    );
    let print = format!(
        "for v in {}; do x=${{!v}}; echo \"$v=${{#x}} $x\"; done",
        all.join(" ")
    );
    let plan = json!({ "version": 1, "name": "levels", "passEnv": names("caller"), "env": env("workflow"), "envFrom": [exports("workflowFrom")],
        "jobs": { "j": { "env": env("job"), "envFrom": [exports("jobFrom")], "steps": [
            { "name": "write", "bash": write }, { "name": "print", "bash": print, "env": env("step"), "envFrom": [exports("stepFrom")] },
        ] } } });
    let file = manager.write("levels.env", lines("file", &|name| format!("{name}=file")));
    let plan = manager.plan(&plan).display().to_string();
    let options: Vec<String> = names("option")
        .iter()
        .map(|name| format!("--env={name}=option"))
        .collect();
    let file = file.display().to_string();
    let mut arguments = vec!["run", &plan, "--output=json", "--env-file", &file];
    arguments.extend(options.iter().map(String::as_str));
    let mut command = manager.nixactions(&arguments);
    names("caller")
        .iter()
        .for_each(|name| _ = command.env(name, "caller"));
    let run = manager.start_command(command).end().exits(0);
    for (a, b) in &pairs {
        // The log masks a provider's value. Its length tells it from the values of other levels.
        let level = LEVELS[*a];
        let expected = format!(
            "{} {}",
            level.len(),
            if level.ends_with("From") {
                "***"
            } else {
                level
            }
        );
        assert_eq!(
            run.value("j", &format!("V_{a}_{b}")),
            expected,
            "{level} against {}: {run}",
            LEVELS[*b]
        );
    }
}

fn providers_run_in_order_before_the_first_step_and_see_what_earlier_ones_set(manager: &Manager) {
    // The step reports by a variable of its own, which no mask hides: a digit is too short to be a
    // secret.
    let see = |name: &str, seen: &str| {
        provider(&format!(
            "printf 'export {name}=%s\\n' \"$((${{LAST:-0}} + 1))\"; printf 'export LAST=%s\\n' $((${{LAST:-0}} + 1)); {seen}"
        ))
    };
    let plan = json!({ "version": 1, "name": "providers", "env": { "SET": "1" }, "passEnv": ["CALLER"],
        "envFrom": [see("A", "[ \"$SET$CALLER\" = 12 ]"), see("B", "[ $A = 1 ]; pwd >&2; echo \"$NIXACTIONS_JOB\" >&2")],
        "jobs": { "j": {
            "env": { "OWN": "3" }, "envFrom": [see("C", "[ \"$SET$OWN$A$B\" = 1312 ]"), see("D", "true")],
            "steps": [
                { "name": "first", "bash": "echo $A $B $C $D ${E-unset} ${F-unset} $LAST; echo LAST=9 >> $NIXACTIONS_ENV; touch stepped",
                  "env": { "OWN": "4" } },
                { "name": "second", "bash": "echo $A $B $C $D $E $LAST", "env": { "OWN": "5" },
                  "envFrom": [see("E", "[ \"$OWN$NIXACTIONS_STEP\" = 5second ]; [ ! -e stepped ]")] },
                { "name": "third", "bash": "echo ${E-unset} $F $LAST", "condition": "always()", "envFrom": [see("F", "[ ! -e stepped ]")] },
            ] } } });
    let plan = manager.plan(&plan).display().to_string();
    let mut command = manager.nixactions(&["run", &plan, "--output=json"]);
    command.env("CALLER", "2");
    let run = manager.start_command(command).end().exits(0);
    let lines = run.lines("j");
    assert!(lines[0].ends_with("/job/work/workspace"), "{run}");
    // A value that a step wrote outranks the job's and the workflow's providers. A provider of the
    // step outranks that value.
    assert_eq!(
        lines[1..],
        ["j", "1 2 3 4 unset unset 4", "1 2 3 4 5 5", "unset 5 5"],
        "{run}"
    );
    let told = manager
        .nixactions(&["show", &run.id, "--json"])
        .output_within(SOON);
    assert!(
        !String::from_utf8_lossy(&told.stdout).contains("sh -c"),
        "a provider that works is nobody's concern"
    );
}

fn a_provider_that_fails_fails_its_job_alone_before_any_step(manager: &Manager) {
    let job = |provider: Value| with(bash("echo ran"), json!({ "envFrom": [provider] }));
    let script = |script: &str| job(provider(script));
    let plan = json!({ "version": 1, "name": "bad-providers", "jobs": {
        "garbage": script("echo 'export A=1'; echo hunter2-garbage"),
        "binary": script("head -c 5000 /dev/urandom; echo; echo"),
        "not-text": script("printf 'export A=1\\nexport B=\\377hunter2\\n'"),
        "status": script("echo export A=hunter2-kept; echo it failed with hunter2-kept >&2; exit 3"),
        "killed": script("kill -KILL $$"),
        "missing": job(json!(["/nowhere/provider", "--key"])),
        "huge": script("echo 'export A=1'; yes | head -c 10000000; exit 0"),
        "step": { "steps": [{ "bash": "echo ran" }, { "name": "always", "bash": "echo ran", "condition": "always()", "envFrom": [provider("exit 4")] }] },
        "tolerated": with(script("exit 5"), json!({ "continueOnError": true })),
        "good": bash("echo good"),
        "after": with(bash("echo after"), json!({ "needs": ["status"], "condition": "failure()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let failed = |job: &str, reason: &str| {
        assert_eq!(run.verdict(job), "failure/failure", "{run}");
        assert!(
            run.reason(job).ends_with(reason),
            "{job}: {}, not {reason}: {run}",
            run.reason(job)
        );
        assert!(run.reason(job).starts_with("provider `"), "{run}");
        assert_eq!(run.steps(job), NONE, "{run}");
        assert!(!run.lines(job).contains(&"ran"), "{run}");
    };
    failed(
        "garbage",
        "`: line 2 of its output is not of the form export NAME=\"value\"",
    );
    failed("not-text", "`: line 2 of its output is not UTF-8");
    failed("status", "`: exit status 3");
    failed("killed", "`: killed by SIGKILL");
    failed(
        "missing",
        "provider `/nowhere/provider --key`: executable `/nowhere/provider` does not exist",
    );
    failed("huge", "`: printed more than 1048576 bytes");
    failed("step", "provider `sh -c exit 4`: exit status 4");
    assert!(run.reason("binary").contains(" of its output "), "{run}");
    assert_eq!(run.verdict("tolerated"), "failure/success");
    assert_eq!(
        (run.lines("good"), run.lines("after")),
        (vec!["good"], vec!["after"]),
        "{run}"
    );
    assert_eq!(run.lines("status"), ["it failed with ***"], "{run}");
    assert!(
        run.reason("status").contains("export A=***;")
            && !run.record.to_string().contains("hunter2-kept"),
        "{run}"
    );
}

fn a_provider_that_hangs_is_ended_with_its_job(manager: &Manager) {
    let hang = "echo hangs >&2; trap '' INT; (trap '' INT TERM; exec sleep 98731) & wait";
    let plan = json!({ "version": 1, "name": "hanging", "maxParallel": 3, "jobs": {
        "late": with(bash("echo ran"), json!({ "timeout": 1, "envFrom": [provider(hang)] })),
        "cancelled": with(bash("echo ran"), json!({ "envFrom": [provider("touch asked; exec sleep 98732")] })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("cancelled", "asked");
    run.wait_for_event("jobFinished", Some("late"));
    manager.nixactions(&["cancel", run.id()]).ok();
    let run: Finished = run.end().exits(130);
    assert_eq!(
        (run.verdict("late"), run.reason("late")),
        (
            "failure/failure".to_owned(),
            "timeout: the job took longer than 1 s"
        ),
        "{run}"
    );
    assert_eq!(
        (run.lines("late"), run.steps("late")),
        (vec!["hangs"], vec![]),
        "{run}"
    );
    assert_eq!(
        (run.verdict("cancelled"), run.steps("cancelled")),
        ("cancelled/cancelled".to_owned(), vec![]),
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn a_bad_file_of_a_step_fails_only_that_step(manager: &Manager) {
    let files = ["ENV", "OUTPUT", "PATH"];
    let ways = [
        (
            "malformed",
            "echo 'GOOD=1' >> $F; echo hunter6 >> $F",
            "line 2: is neither `NAME=value` nor `NAME<<DELIMITER`",
        ),
        (
            "huge",
            "head -c 2000000 /dev/zero | tr '\\0' x >> $F",
            "has more than 1048576 bytes",
        ),
        (
            "text",
            "printf 'A=1\\nB=\\377\\n' >> $F",
            "line 2: is not UTF-8",
        ),
        ("link", "ln -sf /etc/hostname $F", "cannot be read ("),
        ("directory", "rm $F; mkdir $F", "cannot be read ("),
        ("fifo", "rm $F; mkfifo $F", "cannot be read ("),
    ];
    let mut jobs = json!({ "good": bash("echo good"), "removed": bash("rm $NIXACTIONS_ENV $NIXACTIONS_OUTPUT $NIXACTIONS_PATH $NIXACTIONS_SUMMARY") });
    for (name, script, _) in ways {
        for file in files {
            let step = json!({ "name": "it", "bash": format!("F=$NIXACTIONS_{file}; {script}") });
            jobs[format!("{name}-{file}")] = json!({ "steps": [step, { "name": "after", "bash": "echo after", "condition": "always()" }] });
        }
    }
    let run = manager
        .run(
            &json!({ "version": 1, "name": "files", "jobs": jobs }),
            &NONE,
        )
        .exits(1);
    for (name, _, reason) in ways {
        for file in files {
            let job = format!("{name}-{file}");
            // Any text is a directory's name.
            let is_fine = file == "PATH" && name == "malformed";
            let expected = if is_fine {
                String::new()
            } else {
                format!("step it: NIXACTIONS_{file}")
            };
            assert!(
                run.reason(&job).starts_with(&expected)
                    && (is_fine || run.reason(&job).contains(reason)),
                "{job}: {run}"
            );
            assert_eq!(
                run.verdict(&job),
                if is_fine {
                    "success/success"
                } else {
                    "failure/failure"
                },
                "{job}: {run}"
            );
            assert_eq!(run.lines(&job), ["after"], "{run}");
            assert!(!run.reason(&job).contains("hunter6"), "{run}");
        }
    }
    assert_eq!(
        (run.lines("good"), run.verdict("removed")),
        (vec!["good"], "success/success".to_owned()),
        "{run}"
    );
}
