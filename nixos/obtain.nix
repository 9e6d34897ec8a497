# A service that obtains the images of a plan for the run that starts after it. It has the network
# and the rights to unpack files, which the service that starts the run has not.
{ lib, cfg }:
# The needs of the plan's images (images-of.nix), and the plan.
needs: plan:
let
  logins = import ./logins.nix { inherit lib cfg; };
in
lib.mkMerge [
  (logins needs.pulls)
  {
    documentation = [ "man:nixactions(1)" ];
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    # A switch to another configuration interrupts no pull: a run waits for it.
    restartIfChanged = false;
    stopIfChanged = false;
    serviceConfig = lib.mkMerge [
      (import ./sandbox.nix ({ inherit lib; } // needs))
      {
        Type = "oneshot";
        Slice = "nixactions.slice";
        ExecStart = "${lib.getExe cfg.package} obtain-images %S/nixactions %n ${plan}";
        StateDirectory = "nixactions";
        TimeoutStartSec = lib.mkDefault "30min";
        # Unlike the service that starts the run, it mounts nothing and becomes no other user.
        CapabilityBoundingSet = [
          "CAP_CHOWN"
          "CAP_DAC_OVERRIDE"
          "CAP_FOWNER"
          "CAP_FSETID"
          "CAP_SETFCAP"
        ];
        RestrictNamespaces = true;
        SystemCallFilter = "@system-service";
      }
    ];
  }
]
