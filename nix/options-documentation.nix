# Renders the options as Markdown: the text of docs/options.md.
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

  item =
    name: text:
    lib.optional (text != null) (
      lib.replaceStrings [ "\n" ] [ "\n  " ] (words.fill "- ${name}: ${text}")
    );
  option =
    name: option:
    lib.concatStringsSep "\n" (
      [
        "### `${name}`"
        ""
        (words.fill (words.linked option.description))
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
      (words.fill text)
    ]
    ++ lib.mapAttrsToList option (lib.filterAttrs (_: option: !(option.internal or false)) options);
in
lib.concatStringsSep "\n\n" (
  lib.concatLists [
    [
      "# Options"
      ''
        This page lists every option of [the language](language.md). It is generated from the options in
        `nix/options/`, and a test compares both.''
    ]
    (section "A workflow" "The argument of `mkWorkflow`." (
      import ./options/workflow.nix { inherit lib types executors; }
    ))
    (section "A job" "Each of a workflow's `jobs`." (module ./options/job.nix))
    (section "A step" "Each of a job's `steps`, and the argument of `mkAction`." (
      module ./options/step.nix
    ))
    (section "A service" "Each of a job's `services`." (module ./options/service.nix))
    (section "The health of a service" "The `health` of a service." (module ./options/health.nix))
    (section "Retry" "The `retry` of a workflow, a job or a step." (module ./options/retry.nix))
    (section "An artifact that is restored" "Each of a job's `inputs`, unless it is a name." (
      module ./options/artifact.nix
    ))
    (section "An input" "Each of a workflow's `inputs`." (module ./options/input.nix))
    (section "Concurrency" "A workflow's `concurrency`." (module ./options/concurrency.nix))
    (section "A matrix" "The argument of `mkMatrixJobs`." (module ./options/mk-matrix-jobs.nix))
    (section "`executors.local`" "Jobs are services of the host." executor.local)
    (section "`executors.systemd`"
      "Jobs are services of the host, or in a [root file system of their own](containers.md), with a sandbox of your choice and unit properties."
      executor.systemd
    )
    (section "`executors.nspawn`" ''
      Jobs are [containers](containers.md#two-types) of systemd-nspawn(1). `executors.nixosContainer` is
      another name for this executor.'' executor.nspawn)
    (section "`executors.oci`" ''
      Jobs are [containers](containers.md#two-types) of systemd-nspawn(1) with the files of an image.
      Some options have the names of NixActions' bash compiler.'' executor.oci)
    (section "An image" "The `image` of an executor or a service, unless it is a path or a reference." (
      module ./options/image.nix
    ))
    (section "A bind mount" "Each of an executor's `bind`." (module ./options/bind.nix))
    (section "`mkExecutor`"
      "Your own programs run the jobs. [plan.md](plan.md#hooks) lists the variables of each hook."
      executor.hooks
    )
  ]
)
+ "\n"
