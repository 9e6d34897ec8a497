# The calendar events of the timers. Only systemd-analyze(1) knows which are good, so the build of
# the system checks them, and not the evaluation.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixactions;
  workflows = lib.filterAttrs (_: workflow: workflow.enable) cfg.workflows;
  check =
    option: event:
    "check ${lib.escapeShellArg "services.nixactions.${option}"} ${lib.escapeShellArg event}\n";
  checks =
    lib.concatLists (
      lib.mapAttrsToList (
        name: workflow: map (check "workflows.${name}.schedule") workflow.schedule
      ) workflows
    )
    ++ lib.optional cfg.retention.enable (check "retention.schedule" cfg.retention.schedule);
in
{
  config = lib.mkIf (cfg.enable && checks != [ ]) {
    system.checks = [
      (pkgs.runCommand "nixactions-schedules" { } ''
        failed=
        check() {
            event=$2
            # A build has no time zones, and systemd would take the name of one for a date.
            zone=''${event##* }
            [ "$zone" = "$event" ] || [ ! -f "${pkgs.tzdata}/share/zoneinfo/$zone" ] || event=''${event% *}
            said=$(${pkgs.buildPackages.systemd}/bin/systemd-analyze calendar -- "$event" 2>&1) && return
            echo "$1: \`$2\` is not a calendar event of systemd.time(7): $said" >&2
            failed=1
        }
        ${lib.concatStrings checks}
        [ -z "$failed" ] && touch "$out"
      '')
    ];
  };
}
