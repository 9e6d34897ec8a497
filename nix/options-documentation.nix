# The options as Markdown: the text of docs/options.md.
{
  lib,
  types,
  executors,
  ...
}:
let
  words = import ./words.nix { inherit lib; };
  module = file: import file { inherit lib types; };
  executor = module ./options/executors.nix;

  code = value: if value._type or null == "literalMD" then value.text else "`${words.written value}`";

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
    title: text:
    { options, ... }:
    [
      "## ${title}"
      text
    ]
    ++ lib.mapAttrsToList option (lib.filterAttrs (_: option: !(option.internal or false)) options);
in
lib.concatStringsSep "\n\n" (
  lib.concatLists [
    [
      "# Options"
      "All that [the language](language.md) takes. This page is made of the options themselves, in `nix/options/`; a test compares them."
    ]
    (section "A workflow" "What `mkWorkflow` takes." (
      import ./options/workflow.nix { inherit lib types executors; }
    ))
    (section "A job" "Each of a workflow's `jobs`." (module ./options/job.nix))
    (section "A step" "Each of a job's `steps`, and what `mkAction` takes." (module ./options/step.nix))
    (section "Retry" "The `retry` of a workflow, a job or a step." (module ./options/retry.nix))
    (section "An artifact that is taken in" "Each of a job's `inputs` that is not just a name." (
      module ./options/artifact.nix
    ))
    (section "An input" "Each of a workflow's `inputs`." (module ./options/input.nix))
    (section "Concurrency" "A workflow's `concurrency`." (module ./options/concurrency.nix))
    (section "A matrix" "What `mkMatrixJobs` takes." (module ./options/mk-matrix-jobs.nix))
    (section "`executors.local`" "Jobs are services of the host." executor.local)
    (section "`executors.systemd`" "The same, with settings of systemd's." executor.systemd)
    (section "`executors.nspawn`" ''
      Jobs are containers of systemd-nspawn(1); `executors.nixosContainer` is another name for it. The engine checks such a plan, and
      does not run it yet.'' executor.nspawn)
    (section "`mkExecutor`"
      "Jobs are what your own programs make of them; [plan.md](plan.md#hooks) says what each hook is given."
      executor.hooks
    )
  ]
)
+ "\n"
