//! Values that do not fit where they are to go: variables that no process can be given.

use nixactions_harness::{
    CommandExt as _, Finished, Manager, SOON, bash, on_shared_managers, wait_for, with,
};
use serde_json::json;

on_shared_managers!(
    an_output_that_no_variable_can_hold_is_in_needs,
    outputs_that_are_too_many_together_are_in_needs,
    variables_from_anywhere_that_do_not_fit_stay_out,
);

const NONE: [&str; 0] = [];

/// Waits until a job's log has a line of the runner with this text.
fn says(manager: &Manager, run: &Finished, job: &str, text: &str) {
    let filter = [
        format!("NIXACTIONS_RUN={}", run.id),
        format!("NIXACTIONS_JOB={job}"),
    ];
    wait_for(SOON, &format!("`{text}` in the log of `{job}`"), || {
        let log = manager
            .journal(&["--output=cat", &filter[0], &filter[1]])
            .ok();
        log.lines().any(|line| line.contains(text)).then_some(())
    });
}

/// Returns a script that writes outputs `<name>-1` and so on, of `size` bytes and a bit.
fn outputs(name: &str, count: usize, size: usize) -> String {
    format!(
        "for n in $(seq {count}); do printf '{name}-%s=' $n; head -c $(({size} + n)) /dev/zero | tr '\\0' x; echo; done >> $NIXACTIONS_OUTPUT"
    )
}

fn an_output_that_no_variable_can_hold_is_in_needs(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "big", "jobs": {
        "big": bash(&format!("{}; echo small=1 >> $NIXACTIONS_OUTPUT", outputs("big", 1, 200_000))),
        // Exactly what a variable holds, its name and its final NUL included.
        "edge": bash(&outputs("k", 2, 131_072 - "NEEDS_EDGE_K_1=".len() - 2)),
        "after": with(
            bash("echo ${NEEDS_BIG_BIG_1-unset} $NEEDS_BIG_SMALL $NEEDS_BIG_RESULT ${#NEEDS_EDGE_K_1} ${#NEEDS_EDGE_K_2}; grep -o 'x*' $NIXACTIONS_NEEDS | wc -L"),
            json!({ "needs": ["big", "edge"], "condition": "test $NEEDS_BIG_SMALL = 1" }),
        ),
        "always": with(bash("echo ran"), json!({ "needs": ["big"], "condition": "always()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(
        run.lines("after"),
        ["unset 1 success 131056 0", "200001"],
        "{run}"
    );
    assert_eq!(run.lines("always"), ["ran"], "{run}");
    says(
        manager,
        &run,
        "after",
        "variable `NEEDS_BIG_BIG_1` is left out of the environment: it has 200001 bytes, and a process takes 131072 in one variable; its value is in $NIXACTIONS_NEEDS",
    );
}

fn outputs_that_are_too_many_together_are_in_needs(manager: &Manager) {
    let look = "echo $OWN $NEEDS_A_RESULT $NEEDS_B_RESULT $NEEDS_C_RESULT ${#NEEDS_A_K_1} ${#NEEDS_C_K_9}
        grep -o 'x*' $NIXACTIONS_NEEDS | wc -l
        /bin/true $(head -c 100000 /dev/zero | tr '\\0' y) $(head -c 100000 /dev/zero | tr '\\0' z) && echo room";
    let plan = json!({ "version": 1, "name": "many", "env": { "OWN": "kept" }, "jobs": {
        "a": bash(&outputs("k", 9, 100_000)), "b": bash(&outputs("k", 9, 100_000)), "c": bash(&outputs("k", 9, 100_000)),
        "after": with(bash(look), json!({ "needs": ["a", "b", "c"] })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(
        run.lines("after"),
        ["kept success success success 100001 0", "27", "room"],
        "{run}"
    );
    says(
        manager,
        &run,
        "after",
        "variable `NEEDS_C_K_9` is left out of the environment: all variables together have more than the ",
    );
}

fn variables_from_anywhere_that_do_not_fit_stay_out(manager: &Manager) {
    let long = "x".repeat(120_000);
    let env: serde_json::Map<_, _> = (0..10)
        .map(|n| (format!("PLAN_{n}"), long.clone().into()))
        .collect();
    let provider = json!([
        "bash",
        "-c",
        "for n in 1 2 3 4 5; do printf \"export FROM_$n='\"; head -c 119000 /dev/zero | tr '\\0' y; echo \"'\"; done"
    ]);
    let plan = json!({ "version": 1, "name": "all", "env": env, "inputs": { "x": { "type": "string" } }, "jobs": {
        "j": { "envFrom": [provider], "steps": [
            { "bash": "echo ${#PLAN_1} ${#GIVEN_3} ${#INPUT_X} ${#FROM_2} $NIXACTIONS_JOB", "condition": "test $NIXACTIONS_JOB = j" },
        ] },
    } });
    let mut arguments = vec![format!("--input=x={}", "i".repeat(110_000))];
    arguments.extend((0..6).map(|n| format!("--env=GIVEN_{n}={}", "g".repeat(118_000))));
    let run = manager.run(&plan, &arguments).exits(0);
    // The longest are out, which are some of the plan's.
    assert_eq!(run.lines("j"), ["120000 118000 110000 119000 j"], "{run}");
    says(
        manager,
        &run,
        "j",
        "variable `PLAN_9` is left out of the environment: all variables together have more than the ",
    );
}
