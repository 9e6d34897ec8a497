# services.nixactions.workflows.<name>.*
{
  lib,
  nixactions,
  types,
  # The defaults of all workflows.
  defaultExecutor,
  sandbox,
  properties,
}:
{ name, config, ... }:
let
  workflow = import ../nix/options/workflow.nix {
    inherit lib types;
    inherit (nixactions) executors;
  };
  values = import ./values.nix { inherit lib; };
  units =
    when:
    lib.mkOption {
      type = lib.types.listOf lib.types.nonEmptyStr;
      default = [ ];
      example = [ "notify-admin@%n.service" ];
      description = "The units that systemd starts when ${when}.";
    };
  # Adds the defaults of all workflows, and this module's own options of this one, to a workflow.
  # They reach each job when the workflow is compiled.
  defaults = {
    properties = lib.mapAttrs (_: lib.mkDefault) properties;
    inherit (config) credentials credentialsEncrypted;
  };
  ours =
    written:
    written
    // lib.mapAttrs (
      name: more:
      lib.mkMerge [
        more
        (written.${name} or { })
      ]
    ) (lib.filterAttrs (_: more: more != { }) defaults)
    // lib.optionalAttrs (sandbox != null && written.sandbox or null == null) { inherit sandbox; }
    // lib.optionalAttrs (config.concurrency != null) { inherit (config) concurrency; };
in
{
  # The manual of NixOS names the file of each option.
  _file = toString ./workflow.nix;

  options = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      example = false;
      description = "Whether there are a service and a timer of this workflow.";
    };

    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      example = lib.literalExpression "inputs.project.packages.x86_64-linux.ci";
      description = ''
        The workflow, as `mkWorkflow` returns it. Its runs have the workflow's own name.
      '';
    };

    settings = lib.mkOption {
      type = lib.types.nullOr (
        lib.types.submodule [
          workflow
          { name = lib.mkDefault name; }
          (lib.optionalAttrs (defaultExecutor != null) { executor = lib.mkDefault defaultExecutor; })
        ]
      );
      default = null;
      example = lib.literalExpression ''
        {
          jobs.test.steps = [ { bash = "make check"; deps = [ pkgs.gnumake ]; } ];
        }
      '';
      description = ''
        The workflow as options, instead of a `package`. It takes the options of `mkWorkflow`.
        Several modules may add to it.
      '';
    };

    schedule = lib.mkOption {
      type = lib.types.coercedTo lib.types.nonEmptyStr lib.singleton (
        lib.types.listOf lib.types.nonEmptyStr
      );
      default = [ ];
      example = [
        "daily"
        "Mon..Fri *-*-* 09..17:00"
      ];
      description = ''
        When the workflow runs: one calendar event or several, see {manpage}`systemd.time(7)`. If
        the machine was off at such a time, the workflow runs once when the machine is on again.
        While a run goes on, no other run starts. Without a schedule, only `systemctl start` runs
        the workflow.
      '';
    };

    randomizedDelay = lib.mkOption {
      type = lib.types.nullOr values.timeSpan;
      default = null;
      example = "30min";
      description = ''
        The longest random delay of a scheduled run, `RandomizedDelaySec=` of
        {manpage}`systemd.timer(5)`, so that many machines do not start at the same moment.
      '';
    };

    persistent = lib.mkOption {
      type = lib.types.bool;
      default = true;
      example = false;
      description = ''
        Whether a run that was missed while the machine was off is made up for when it is on again,
        `Persistent=` of {manpage}`systemd.timer(5)`.
      '';
    };

    resume = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether the workflow starts again after a boot if the machine was shut down, or lost its
        power, in the middle of a run. The new run begins from the start. After three such starts in
        a row without an end of the run, there is no further one.
      '';
    };

    inputs = lib.mkOption {
      type = lib.types.attrsOf values.scalar;
      default = { };
      example = {
        release = "nightly";
        dryRun = true;
      };
      description = "The workflow's inputs, as `nixactions run --input` takes them.";
    };

    env = lib.mkOption {
      type = lib.types.attrsOf values.scalar;
      default = { };
      example = {
        LEVEL = 3;
      };
      description = ''
        Variables of all steps. They are stronger than the workflow's own. Everybody can read them;
        secrets belong in `secretFiles`.
      '';
    };

    environmentFiles = lib.mkOption {
      type = lib.types.listOf values.secretFile;
      default = [ ];
      example = [ "/etc/nixactions/ci.env" ];
      description = ''
        Files of `K=V` lines with variables of all steps. Each run reads them when it starts. Their
        values are kept with the run, and are not masked.
      '';
    };

    secretFiles = lib.mkOption {
      type = lib.types.listOf values.secretFile;
      default = [ ];
      example = [ "/run/secrets/ci.env" ];
      description = ''
        Files of `K=V` lines with secret variables of all steps. Each run reads them when it starts.
        Their values are masked in the log, and are not kept with the run.
      '';
    };

    credentials = lib.mkOption {
      type = types.attrsOf types.credentialName values.credentialFile;
      default = { };
      example = {
        token = "/run/secrets/token";
      };
      description = ''
        Files that the steps of all jobs find in `$CREDENTIALS_DIRECTORY` by these names,
        `LoadCredential=` of {manpage}`systemd.exec(5)`. systemd reads them when a job starts, and
        their content is masked in the log. The `credentials` of a job in `settings` reach this job
        alone.
      '';
    };

    credentialsEncrypted = lib.mkOption {
      type = types.attrsOf types.credentialName (
        lib.types.coercedTo lib.types.path (path: "${path}") types.credentialPath
      );
      default = { };
      example = lib.literalExpression "{ token = ./token.cred; }";
      description = ''
        The same for files that {manpage}`systemd-creds(1)` has encrypted,
        `LoadCredentialEncrypted=`. These files may be in the store.
      '';
    };

    concurrency = lib.mkOption {
      type = lib.types.nullOr (
        types.record "concurrency" (import ../nix/options/concurrency.nix { inherit lib types; })
      );
      default = null;
      example = {
        group = "deploy";
      };
      description = ''
        The workflow's concurrency group: runs of one group go on one at a time, also those that a
        person starts. `null` leaves what the workflow says.
      '';
    };

    inherit (values) notify;

    onSuccess = units "a run has succeeded";

    onFailure = units "a run has failed or was cancelled";

    serviceConfig = lib.mkOption {
      type = lib.types.attrsOf lib.types.raw;
      default = { };
      example = {
        SuccessExitStatus = 130;
        TimeoutStopSec = "1min";
      };
      description = ''
        More settings of the service, see {manpage}`systemd.service(5)`. They do not apply to the
        jobs, which are units of their own.
      '';
    };

    source = lib.mkOption {
      type = lib.types.nullOr (import ./source.nix { inherit lib values; });
      default = null;
      example = "/srv/project";
      description = ''
        The source tree. Each job gets a copy of this directory. If it is a git repository, the copy
        has no files that git ignores. `{ git.url = "…"; }` is a checkout of a repository, which is
        fetched anew before each run. Without `source`, jobs start in an empty workspace.
      '';
    };

    arguments = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [
        "--input=release=nightly"
        "--secret-env-file=/run/secrets/ci.env"
      ];
      description = ''
        More arguments of `nixactions run`, see {manpage}`nixactions-run(1)`. Everybody can read
        them, so pass secrets by file.
      '';
    };

    # The workflow to run, from `package` or `settings`.
    built = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      internal = true;
      readOnly = true;
      default =
        if config.package ? extend then
          config.package.extend ours
        else if config.package != null then
          config.package
        else if config.settings != null then
          (nixactions.mkWorkflow config.settings).extend ours
        else
          null;
      description = "The workflow's derivation.";
    };
  };
}
