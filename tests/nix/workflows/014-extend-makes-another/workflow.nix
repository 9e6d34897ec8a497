{ nixactions, ... }:
let
  workflow = nixactions.mkWorkflow {
    name = "ci";
    jobs.test.steps = [ { bash = "make check"; } ];
  };
  nightly = workflow.extend (workflow: workflow // { name = "nightly"; });
in
# A workflow shows its settings and its plan.
assert workflow.config.jobs.test.needs == [ ];
assert workflow.plan.name == "ci";
nightly.extend (workflow: workflow // { timeout = "8h"; })
