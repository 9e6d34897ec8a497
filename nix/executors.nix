# The executors that come with systemd. Each function's argument may be empty, and `local` and
# `systemd` need not be called. `name` distinguishes executors with different settings.
{
  lib,
  types,
  ...
}:
let
  options = import ./options/executors.nix { inherit lib types; };
  executor =
    function: compile:
    let
      type = types.record "executor" options.${function};
    in
    arguments:
    let
      settings = types.evaluate type [ "executors" function ] arguments;
    in
    {
      _type = "executor";
      inherit (settings) name;
      plan = compile settings;
    };
  # Can be used with or without a call.
  callable = make: make { } // { __functor = _: make; };
  older = import ./bash-compiler.nix { inherit lib; };
  # Returns the settings of a root file system, without those that have their default.
  container =
    settings:
    lib.optionalAttrs (settings.root != null) { root = "${settings.root}"; }
    // lib.optionalAttrs (settings.image != null) {
      image = lib.filterAttrs (_: value: value != null) settings.image;
    }
    // lib.optionalAttrs settings.imageUser { inherit (settings) imageUser; }
    // lib.optionalAttrs (settings.mode != "isolated") { inherit (settings) mode; }
    // lib.optionalAttrs (!settings.privateUsers) { inherit (settings) privateUsers; }
    // lib.optionalAttrs (settings.capabilities != [ ]) { inherit (settings) capabilities; }
    // lib.optionalAttrs (settings.bind != [ ]) {
      bind = map (lib.filterAttrs (_: value: value != null)) settings.bind;
    }
    // lib.optionalAttrs (settings.env != { }) { inherit (settings) env; };
  # Returns the same for a container of systemd-nspawn(1).
  nspawnOf =
    function: settings:
    if settings.root == null && settings.image == null then
      throw "executors.${function}: there is neither `root` nor `image`: add one of them, as in `root = pkgs.callPackage ./rootfs.nix { };`"
    else if settings.root != null && settings.image != null then
      throw "executors.${function}: there are both `root` and `image`: take one away"
    else
      {
        type = "nspawn";
        inherit (settings) copyRepo network properties;
      }
      // container settings;
  # A set of the settings that only jobs in a root file system of their own may have.
  ofContainers = {
    bind = "`properties.BindPaths`";
    capabilities = "`properties.AmbientCapabilities`";
    env = "the `env` of the workflow or of jobs";
    imageUser = "`properties.User`";
    mode = "a container of its own";
    network = "`properties.PrivateNetwork`";
    privateUsers = "`properties.PrivateUsers`";
  };
  mountOf =
    text:
    let
      parts = lib.splitString ":" text;
    in
    {
      source = lib.head parts;
      target = builtins.elemAt parts 1;
      readOnly = lib.drop 2 parts == [ "ro" ];
    };
in
older.executors
// rec {
  # Jobs are services of the host, or of a root file system of their own.
  systemd = callable (
    executor "systemd" (
      settings:
      let
        defaults = lib.mapAttrs (_: option: option.default) options.systemd.options;
        has = settings.root != null || settings.image != null;
        set = lib.filter (name: settings.${name} != defaults.${name}) (lib.attrNames ofContainers);
        name = lib.head set;
      in
      if settings.root != null && settings.image != null then
        throw "executors.systemd: there are both `root` and `image`: take one away"
      else if has && settings.nix then
        throw "executors.systemd: there is `nix` beside `root` or `image`: jobs that build with the host's Nix daemon run on the host"
      else if !has && set != [ ] then
        throw "executors.systemd: there is `${name}` without `root` or `image`: for jobs on the host there is ${ofContainers.${name}}"
      else
        builtins.seq settings.slice {
          type = "systemd";
          inherit (settings) copyRepo properties;
        }
        // lib.optionalAttrs (settings.sandbox != null) { inherit (settings) sandbox; }
        // lib.optionalAttrs settings.nix { inherit (settings) nix; }
        // lib.optionalAttrs (settings.network != "host") { inherit (settings) network; }
        // container settings
    )
  );

  # The same without systemd settings.
  local = callable (
    executor "local" (settings: {
      type = "systemd";
      inherit (settings) copyRepo;
    })
  );

  # Jobs are containers of systemd-nspawn(1) with their own root file system.
  nspawn = executor "nspawn" (nspawnOf "nspawn");

  # Its name in NixActions' bash compiler.
  nixosContainer = nspawn;

  # The same with an image, and options with the names of NixActions' bash compiler.
  oci = executor "oci" (
    settings:
    builtins.seq settings.extraPackages (
      nspawnOf "oci" (
        settings
        // {
          root = null;
          env = settings.containerEnv;
          bind = settings.bind ++ map mountOf settings.extraMounts;
        }
      )
    )
  );
}
