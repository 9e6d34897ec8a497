{ nixactions, ... }:
let
  workflow = nixactions.mkWorkflow {
    name = "ci";
    jobs.test.steps = [ { bash = "make check"; } ];
  };
  nightly = workflow.extend (workflow: workflow // { name = "nightly"; });
in
# What it is made of can be asked for.
assert workflow.config.jobs.test.needs == [ ];
assert workflow.plan.name == "ci";
nightly.extend (workflow: workflow // { timeout = "8h"; })
