//! Whole jobs.

use nixactions_harness::or_skip;

use crate::world::World;

const DOCKERFILE: &str = "FROM scratch\nARG RELEASE\nLABEL release=$RELEASE\nCOPY hello /hello\n";

#[test]
fn build_push_is_a_job_that_says_where_it_pushes_and_holds_no_secret() {
    let world = or_skip!(World::with(&[]));
    // As text: whoever has no buildah cannot build it.
    let plan = world.eval(
        r#"(mkWorkflow { name = "images"; jobs = {
            test.steps = [ { bash = "true"; } ];
            image = jobs.buildahBuildPush { image = "app"; registry = "registry.example.org/me"; needs = [ "test" ]; timeout = "10m"; env.A = 1; };
            only = jobs.buildahBuildPush { image = "app"; push = false; executor = executors.local { }; };
        }; }).plan.jobs"#,
    );
    assert_eq!(plan["image"]["needs"][0], "test");
    assert_eq!(
        (&plan["image"]["timeout"], &plan["image"]["executor"], &plan["image"]["env"]["A"]),
        (&600.into(), &"buildah".into(), &"1".into())
    );
    let names = |job: &str| {
        plan[job]["steps"].as_array().into_iter().flatten().map(|step| step["name"].as_str().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!((names("image"), names("only")), (vec!["build app", "push app"], vec!["build app"]));
    assert_eq!(plan["only"]["executor"], "local");
    let error = world.eval_fails("(jobs.buildahBuildPush { image = \"app\"; }).steps");
    assert!(error.contains("jobs.buildahBuildPush: `app` names no registry to push to: set `registry`, or `push = false`"), "{error}");
}

#[test]
fn an_image_is_built_and_pushed() {
    let world = or_skip!(World::with(&["buildah"]));
    let project = world.project("project", &[("app/Dockerfile", DOCKERFILE), ("app/hello", "hello\n")]);
    let jobs = r#"{
        image = jobs.buildahBuildPush { image = "app"; tags = [ "latest" "v1" ]; context = "app"; buildArgs.RELEASE = "1.0 final"; push = false; };
    }"#;
    let run = world.run(&project, jobs, &[]).exits(0);
    assert_eq!(run.steps("image"), ["build app success/success"], "{run}");
}
