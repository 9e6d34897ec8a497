# Sources from git: a service for each such workflow, which the workflow's own service starts before
# each run. It has the network, which the workflow's service has not, and no rights.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixactions;
  user = "nixactions-fetch";
  workflows = lib.filterAttrs (_: workflow: workflow.enable && workflow.source ? git) cfg.workflows;

  inherit (import ./text.nix { inherit lib; }) word credential;
  inherit (import ./values.nix { inherit lib; }) isSsh;

  fetch = name: workflow: {
    description = "Source of workflow ${name}";
    documentation = [ "man:nixactions(1)" ];
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    # A stop of the workflow's service stops the fetch.
    partOf = [ "nixactions@${name}.service" ];
    path = [
      pkgs.gitMinimal
    ]
    ++ lib.optional (isSsh workflow.source.git.url || workflow.source.git.submodules) pkgs.openssh;
    environment.FETCH_USER = workflow.source.git.username;
    # A switch to another configuration interrupts no fetch: a run waits for it.
    restartIfChanged = false;
    stopIfChanged = false;
    unitConfig.X-StopOnRemoval = false;
    serviceConfig = lib.mkMerge [
      (import ./sandbox.nix { inherit lib; })
      {
        Type = "oneshot";
        Slice = "nixactions.slice";
        ExecStart = lib.concatStringsSep " " [
          pkgs.runtimeShell
          "${./fetch.sh}"
          (word workflow.source.git.url)
          (word (toString workflow.source.git.ref))
          (lib.boolToString workflow.source.git.submodules)
        ];
        User = user;
        StateDirectory = "nixactions-fetch/${name}";
        RuntimeDirectory = "nixactions-fetch/${name}";
        TimeoutStartSec = lib.mkDefault "30min";
        # The remote is on the network.
        PrivateNetwork = false;
        IPAddressDeny = [ ];
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
        ];
        # Unlike the workflow's service, it owns its files and mounts nothing.
        CapabilityBoundingSet = "";
        RestrictNamespaces = true;
        SystemCallFilter = "@system-service";
        # The files keep their modes for the jobs, and nobody else enters.
        StateDirectoryMode = "0700";
        RemoveIPC = true;
        ProcSubset = "pid";
      }
      {
        LoadCredential =
          credential "password" workflow.source.git.passwordFile
          ++ credential "ssh-key" workflow.source.git.sshKeyFile;
      }
    ];
  };
in
{
  config = lib.mkIf (cfg.enable && workflows != { }) {
    systemd.services = lib.mapAttrs' (
      name: workflow: lib.nameValuePair "nixactions-fetch@${name}" (fetch name workflow)
    ) workflows;
    users.users.${user} = {
      isSystemUser = true;
      group = user;
      description = "Fetches the sources of NixActions' workflows";
    };
    users.groups.${user} = { };
  };
}
