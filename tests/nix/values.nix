# For each place where a text may stand in a workflow, and each of some texts: the plan, or null
# where the language refuses it. Where expressions may stand, there are more texts.
{ texts, expressions }:
let
  pkgs = import ./pkgs.nix { };
  nixactions = import ../../nix { inherit pkgs; };
  workflow =
    more: job: step:
    nixactions.mkWorkflow (
      {
        name = "ci";
        jobs.test = {
          steps = [ ({ bash = "true"; } // step) ];
        }
        // job;
      }
      // more
    );
  places = {
    jobs = text: workflow { jobs.${text}.steps = [ { bash = "true"; } ]; } { } { };
    name = text: workflow { name = text; } { } { };
    env = text: workflow { env.${text} = "x"; } { } { };
    passEnv = text: workflow { passEnv = [ text ]; } { } { };
    inputs = text: workflow { inputs.${text} = { }; } { } { };
    group = text: workflow { concurrency.group = text; } { } { };
    executor = text: workflow { } { executor = nixactions.executors.systemd { name = text; }; } { };
    root = text: workflow { } { executor = nixactions.executors.nspawn { root = text; }; } { };
    image = text: workflow { } { executor = nixactions.executors.oci { image = text; }; } { };
    provider = text: workflow { } { envFrom = [ [ text ] ]; } { };
    condition = text: workflow { } { condition = text; } { };
    stepCondition =
      text:
      workflow { } {
        steps = [
          {
            id = "a";
            bash = "true";
          }
          {
            bash = "true";
            condition = text;
          }
        ];
      } { };
    stepEnv = text: workflow { } { } { env.A = text; };
    outputFrom = text: workflow { } { outputsFrom.a = text; } { };
    outputFromName = text: workflow { } { outputsFrom.${text} = "a"; } { };
    id = text: workflow { } { } { id = text; };
    output = text: workflow { } { outputs.${text} = "x"; } { };
    path = text: workflow { } { outputs.x = text; } { };
    credential = text: workflow { } { credentials.${text} = "/x"; } { };
    file = text: workflow { } { credentials.x = text; } { };
    matrix =
      text:
      workflow {
        jobs = nixactions.mkMatrixJobs {
          name = "m";
          include = [ { ${text} = 1; } ];
          job = _: { steps = [ { bash = "true"; } ]; };
        };
      } { } { };
    step = text: workflow { } { } { name = text; };
    workdir = text: workflow { } { } { workdir = text; };
    script = text: workflow { } { } { bash = text; };
    shell = text: workflow { } { } { shell = text; };
    shellProgram =
      text:
      workflow { } { } {
        shell = [
          text
          "{0}"
        ];
      };
    shellArgument =
      text:
      workflow { } { } {
        shell = [
          "a"
          text
        ];
      };
    defaultWorkdir = text: workflow { } { defaults.workdir = text; } { };
    workflowWorkdir = text: workflow { defaults.workdir = text; } { } { };
    postEnv =
      text:
      workflow { } { } {
        id = "a";
        post = {
          bash = "true";
          env.A = text;
        };
      };
    postWorkdir =
      text:
      workflow { } { } {
        post = {
          bash = "true";
          workdir = text;
        };
      };
  };
  planOf =
    workflow:
    let
      tried = builtins.tryEval (builtins.deepSeq workflow.plan workflow.plan);
    in
    if tried.success then tried.value else null;
in
builtins.mapAttrs (
  name: place:
  map (text: planOf (place text)) (
    if
      builtins.elem name [
        "condition"
        "stepCondition"
        "stepEnv"
        "outputFrom"
        "workdir"
        "defaultWorkdir"
        "workflowWorkdir"
        "postEnv"
        "postWorkdir"
      ]
    then
      expressions
    else
      texts
  )
) places
