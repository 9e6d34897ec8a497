# The sandbox of a workflow's service. The service makes the run's directory, asks systemd for the
# run, and then only reads. Nothing here applies to the jobs, which are units with a sandbox of
# their own (docs/sandbox.md). All values are defaults, see systemd.exec(5).
{
  lib,
  # Whether the service unpacks images and pulls them from registries (images-of.nix).
  unpacks ? false,
  pulls ? false,
}:
lib.mapAttrs (_: lib.mkDefault) {
  # The service talks to systemd and the journal by sockets and files, and to no other process but a
  # registry.
  IPAddressDeny = lib.optional (!pulls) "any";
  PrivateNetwork = !pulls;
  RestrictAddressFamilies = [
    "AF_UNIX"
  ]
  ++ lib.optionals pulls [
    "AF_INET"
    "AF_INET6"
  ];

  ProtectSystem = "strict";
  # Not `true`: the source tree may lie in a home.
  ProtectHome = "read-only";
  PrivateTmp = true;
  PrivateDevices = true;

  # Not empty: a source tree may belong to any user, and its copy keeps the modes. A test mount
  # shows whether workspaces can be mounted over that copy.
  CapabilityBoundingSet = [
    "CAP_CHOWN"
    "CAP_DAC_OVERRIDE"
    "CAP_FOWNER"
    "CAP_SETGID"
    "CAP_SETUID"
    "CAP_SYS_ADMIN"
  ]
  # The files of an image may have capabilities, and groups whose rights their programs take.
  ++ lib.optionals unpacks [
    "CAP_FSETID"
    "CAP_SETFCAP"
  ];
  # For the same test mount.
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
  # The files of an image may have these modes, and openat2(2), which keeps them inside of it, is
  # forbidden with them.
  RestrictSUIDSGID = !unpacks;
}
