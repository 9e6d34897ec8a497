# What the service of a workflow may do: it makes the run's directory, asks systemd for the run, and
# then only reads. The jobs are units of their own with a sandbox of their own (docs/sandbox.md);
# nothing here applies to them. All are defaults, see systemd.exec(5).
{ lib }:
lib.mapAttrs (_: lib.mkDefault) {
  # It speaks to systemd and the journal by sockets and files, and to nobody else.
  IPAddressDeny = "any";
  PrivateNetwork = true;
  RestrictAddressFamilies = [ "AF_UNIX" ];

  ProtectSystem = "strict";
  # A run's directory in memory, `/run/nixactions-<run>`, is made before there is a unit to whom it
  # could belong.
  ReadWritePaths = [ "/run" ];
  # Not `true`: the source tree may lie in a home.
  ProtectHome = "read-only";
  PrivateTmp = true;
  PrivateDevices = true;

  # Not empty: a source tree may belong to anybody, and its copy keeps the modes; whether workspaces
  # can be mounted over that copy is tried by mounting one.
  CapabilityBoundingSet = [
    "CAP_CHOWN"
    "CAP_DAC_OVERRIDE"
    "CAP_FOWNER"
    "CAP_SETGID"
    "CAP_SETUID"
    "CAP_SYS_ADMIN"
  ];
  # For the same trial.
  RestrictNamespaces = "mnt user";
  SystemCallFilter = [
    "@system-service"
    "@mount"
  ];
  SystemCallErrorNumber = "EPERM";
  SystemCallArchitectures = "native";
  NoNewPrivileges = true;

  LockPersonality = true;
  MemoryDenyWriteExecute = true;
  ProtectClock = true;
  ProtectControlGroups = true;
  ProtectHostname = true;
  ProtectKernelLogs = true;
  ProtectKernelModules = true;
  ProtectKernelTunables = true;
  ProtectProc = "invisible";
  RestrictRealtime = true;
  RestrictSUIDSGID = true;
}
