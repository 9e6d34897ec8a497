# A step: a script, or a program.
{ lib, types }:
let
  common = import ./common.nix { inherit lib types; };
  script = import ./script.nix { inherit lib types; };
in
{
  options = {
    inherit (common)
      envFrom
      retry
      timeout
      condition
      continueOnError
      ;
    inherit (script)
      bash
      script
      shell
      deps
      package
      args
      workdir
      ;
    env = common.env // {
      description = ''
        Variables of the step, stronger than those of its job. Their values may have expressions
        (plan.md#expressions). They are in the plan and in the store, where everybody can read them.
        Use `envFrom` for secrets.
      '';
    };
    id = lib.mkOption {
      type = lib.types.nullOr types.name;
      default = null;
      example = "list";
      description = ''
        The id by which later steps of the job see this step: its outputs as `STEPS_<ID>_<KEY>`, and
        how it ended as `STEPS_<ID>_OUTCOME` and `STEPS_<ID>_CONCLUSION`.
      '';
    };
    name = lib.mkOption {
      type = lib.types.nullOr types.label;
      default = null;
      example = "compile";
      description = "The name in the record and in the journal. The default is the program's name.";
    };
    post = lib.mkOption {
      type = lib.types.nullOr (types.record "post" (import ./post.nix { inherit lib types; }));
      default = null;
      example = {
        bash = "rm -f lock";
      };
      description = ''
        The clean-up of the step. If the step has started, this runs after all steps of the job, in
        reverse order of the steps, whatever happened. Its failure fails the job.
      '';
    };
    isAction = lib.mkOption {
      type = lib.types.bool;
      default = false;
      internal = true;
      description = "Whether the step is an action, which `defaults` do not reach.";
    };
  };
}
