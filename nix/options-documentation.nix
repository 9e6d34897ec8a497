# The options as Markdown: the text of docs/options.md.
{
  lib,
  types,
  executors,
  ...
}:
let
  module = file: import file { inherit lib types; };
  executorOptions = module ./options/executors.nix;

  # A value as it would be written; on one line if it is short.
  code =
    value:
    if value._type or null == "literalMD" then
      value.text
    else
      let
        text = if value ? _type then value.text else lib.generators.toPretty { multiline = false; } value;
      in
      "`${text}`";

  item = name: text: lib.optional (text != null) "- ${name}: ${text}";
  option =
    name: option:
    lib.concatStringsSep "\n" (
      [
        "### `${name}`"
        ""
        (lib.removeSuffix "\n" option.description)
        ""
      ]
      ++ item "type" option.type.description
      ++ item "default" (
        if option ? defaultText then
          code option.defaultText
        else if option ? default then
          if option.default == null then "none" else code option.default
        else
          "none, it must be given"
      )
      ++ item "example" (if option ? example then code option.example else null)
    );
  section =
    {
      title,
      text,
      options,
    }:
    let
      visible = lib.filterAttrs (_: option: !(option.internal or false)) options;
    in
    [
      "## ${title}"
      text
    ]
    ++ lib.mapAttrsToList option visible;
in
lib.concatStringsSep "\n\n" (
  [
    "# Options"
    "All that [the language](language.md) takes. This page is made of the options themselves, in `nix/options/`; a test compares them."
  ]
  ++ lib.concatMap section [
    {
      title = "A workflow";
      text = "What `mkWorkflow` takes.";
      options = (import ./options/workflow.nix { inherit lib types executors; }).options;
    }
    {
      title = "A job";
      text = "Each of a workflow's `jobs`.";
      options = (module ./options/job.nix).options;
    }
    {
      title = "A step";
      text = "Each of a job's `steps`, and what `mkAction` takes.";
      options = (module ./options/step.nix).options;
    }
    {
      title = "Retry";
      text = "The `retry` of a workflow, a job or a step.";
      options = (module ./options/retry.nix).options;
    }
    {
      title = "An artifact that is taken in";
      text = "Each of a job's `inputs` that is not just a name.";
      options = (module ./options/artifact.nix).options;
    }
    {
      title = "An input";
      text = "Each of a workflow's `inputs`.";
      options = (module ./options/input.nix).options;
    }
    {
      title = "Concurrency";
      text = "A workflow's `concurrency`.";
      options = (module ./options/concurrency.nix).options;
    }
    {
      title = "A matrix";
      text = "What `mkMatrixJobs` takes.";
      options = (module ./options/mk-matrix-jobs.nix).options;
    }
    {
      title = "`executors.local`";
      text = "Jobs are services of the host.";
      inherit (executorOptions.local) options;
    }
    {
      title = "`executors.systemd`";
      text = "The same, with settings of systemd's.";
      inherit (executorOptions.systemd) options;
    }
    {
      title = "`executors.nspawn`";
      text = "Jobs are containers of systemd-nspawn(1); `executors.nixosContainer` is another name for it. The engine checks such a plan, and does not run it yet.";
      inherit (executorOptions.nspawn) options;
    }
    {
      title = "`mkExecutor`";
      text = "Jobs are what your own programs make of them; [plan.md](plan.md#hooks) says what each hook is given.";
      inherit (executorOptions.hooks) options;
    }
  ]
)
+ "\n"
