# A stand-in for NixOS: the options that the module in nixos/ sets, and the text that NixOS makes of
# units, over nixpkgs' `lib` alone. Written for these tests by what NixOS documents and prints; the
# real one is in vm-tests/, where there is nixpkgs.
{
  pkgs ? import <nixpkgs> {
    overlays = [
      (final: _: {
        gitMinimal = final.git;
        # Examples and the module name them, nothing runs them.
        gnumake = final.coreutils;
        openssh = final.coreutils;
        buildPackages = final;
        tzdata = final.runCommand "tzdata" { } ''
          mkdir -p "$out/share/zoneinfo/Europe"
          touch "$out/share/zoneinfo/Europe/Berlin"
        '';
        # The program where the machine has it, and the catalog beside it.
        nixactions = final.runCommand "nixactions" { meta.mainProgram = "nixactions"; } ''
          mkdir -p "$out/bin" "$out/lib/systemd/catalog"
          ln -s /usr/bin/nixactions "$out/bin/nixactions"
          cp ${../../crates/core/src/nixactions.catalog} "$out/lib/systemd/catalog/nixactions.catalog"
        '';
      })
    ];
  },
  lib ? pkgs.lib,
  # The NixOS configuration's modules.
  modules,
}:
let
  option = type: default: lib.mkOption { inherit type default; };
  texts = option (lib.types.listOf lib.types.str) [ ];
  # A section of a unit: a list is a line for each element. As with NixOS' own type, all definitions
  # are one list if one of them is.
  section = option (lib.types.attrsOf setting) { };
  setting = lib.mkOptionType {
    name = "setting";
    check =
      value:
      builtins.isBool value
      || builtins.isInt value
      || builtins.isString value
      || builtins.isList value && lib.all builtins.isString value;
    merge =
      loc: defs:
      if lib.any (definition: builtins.isList definition.value) defs then
        lib.concatMap (definition: lib.toList definition.value) defs
      else
        lib.mergeEqualOption loc defs;
  };
  unit =
    options: option (lib.types.attrsOf (lib.types.submodule { options = common // options; })) { };
  common = {
    description = option lib.types.str "";
    documentation = texts;
    wants = texts;
    after = texts;
    before = texts;
    bindsTo = texts;
    wantedBy = texts;
    onFailure = texts;
    onSuccess = texts;
    partOf = texts;
    unitConfig = section;
  };

  nixos = {
    options = {
      assertions = option (lib.types.listOf lib.types.raw) [ ];
      warnings = texts;
      lib = option (lib.types.attrsOf lib.types.attrs) { };
      specialisation = option lib.types.raw { };
      system = {
        switch.enable = option lib.types.bool true;
        checks = option (lib.types.listOf lib.types.package) [ ];
      };
      nix = {
        enable = option lib.types.bool true;
        package = option lib.types.package pkgs.nix;
      };
      environment = {
        systemPackages = option (lib.types.listOf lib.types.package) [ ];
        etc = option (lib.types.attrsOf (lib.types.attrsOf lib.types.str)) { };
      };
      networking.firewall.allowedTCPPorts = option (lib.types.listOf lib.types.port) [ ];
      security.polkit = {
        enable = option lib.types.bool false;
        extraConfig = option lib.types.lines "";
      };
      users = {
        users = option (lib.types.attrsOf lib.types.raw) { };
        groups = option (lib.types.attrsOf lib.types.raw) { };
      };
      systemd = {
        package = option lib.types.package pkgs.systemd;
        coredump.enable = option lib.types.bool true;
        additionalUpstreamSystemUnits = texts;
        ctrlAltDelUnit = option lib.types.str "reboot.target";
        services = unit {
          restartIfChanged = option lib.types.bool true;
          stopIfChanged = option lib.types.bool true;
          restartTriggers = option (lib.types.listOf lib.types.raw) [ ];
          environment = option (lib.types.attrsOf lib.types.str) { };
          path = option (lib.types.listOf lib.types.package) [ ];
          serviceConfig = section;
        };
        timers = unit { timerConfig = section; };
        sockets = unit { socketConfig = section; };
        slices = unit { sliceConfig = section; };
        tmpfiles.rules = texts;
      };
    };
    config = {
      _module.args = { inherit pkgs; };
      users.users.root = { };
      users.groups.wheel = { };
    };
  };
  inherit
    (lib.evalModules {
      modules = [
        nixos
        ../../nixos
      ]
      ++ modules;
    })
    config
    options
    ;

  value = value: if builtins.isBool value then lib.boolToString value else toString value;
  lines = lib.concatMapAttrsStringSep "" (
    name: values: lib.concatMapStrings (one: "${name}=${value one}\n") (lib.toList values)
  );
  text =
    title: unit: own: body:
    ''
      [Unit]
      ${lines (
        lib.filterAttrs (_: words: words != "") {
          Description = unit.description;
          Documentation = toString unit.documentation;
          Wants = toString unit.wants;
          After = toString unit.after;
          OnFailure = toString unit.onFailure;
          OnSuccess = toString unit.onSuccess;
          PartOf = toString unit.partOf;
          Before = toString unit.before;
          BindsTo = toString unit.bindsTo;
        }
        // unit.unitConfig
      )}
      [${title}]
      ${own}${lines body}''
    + lib.optionalString (unit.wantedBy != [ ]) ''

      [Install]
      WantedBy=${toString unit.wantedBy}
    '';

  # The PATH that each service has.
  path =
    service:
    service.path
    ++ [
      pkgs.coreutils
      pkgs.findutils
      pkgs.gnugrep
      pkgs.gnused
      pkgs.systemd
    ];
  environment =
    service:
    {
      PATH = "${lib.makeBinPath (path service)}:${lib.makeSearchPath "sbin" (path service)}";
    }
    // service.environment;
  serviceText =
    service:
    text "Service" service (
      lib.concatMapAttrsStringSep "" (
        name: value: "Environment=${builtins.toJSON "${name}=${value}"}\n"
      ) (environment service)
      + lib.optionalString (!service.restartIfChanged) "X-RestartIfChanged=false\n"
      + lib.optionalString (!service.stopIfChanged) "X-StopIfChanged=false\n"
    ) service.serviceConfig;

  named = kind: lib.mapAttrs' (name: lib.nameValuePair "${name}.${kind}");
  units =
    named "service" (lib.mapAttrs (_: serviceText) config.systemd.services)
    // named "timer" (
      lib.mapAttrs (_: timer: text "Timer" timer "" timer.timerConfig) config.systemd.timers
    )
    // named "socket" (
      lib.mapAttrs (_: socket: text "Socket" socket "" socket.socketConfig) config.systemd.sockets
    )
    // named "slice" (
      lib.mapAttrs (_: slice: text "Slice" slice "" slice.sliceConfig) config.systemd.slices
    )
    # Files of /etc, with dashes for slashes.
    // lib.mapAttrs' (
      path: file: lib.nameValuePair (builtins.replaceStrings [ "/" ] [ "-" ] path) file.text
    ) config.environment.etc
    // lib.optionalAttrs (config.systemd.tmpfiles.rules != [ ]) {
      "tmpfiles.conf" = lib.concatMapStrings (rule: "${rule}\n") config.systemd.tmpfiles.rules;
    };

  failed = map (assertion: assertion.message) (
    lib.filter (assertion: !assertion.assertion) config.assertions
  );
  checked =
    if failed == [ ] then
      lib.foldr lib.warn units config.warnings
    else
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}";

  # As a system, they are built after its checks.
  files = pkgs.runCommand "units" { inherit (config.system) checks; } (
    ''
      mkdir "$out"
    ''
    + lib.concatMapAttrsStringSep "" (
      name: text:
      let
        file = pkgs.writeTextFile {
          name = "unit";
          inherit text;
        };
      in
      "cp ${file} \"$out/${name}\"\n"
    ) checked
  );
in
{
  inherit config;
  # The list of options in docs/nixos.md.
  documentation = import ../../nixos/documentation.nix { inherit lib options; };
  # The options, as the manual of NixOS documents them.
  manual = lib.filter (
    option: option.visible && !option.internal && lib.hasPrefix "services.nixactions." option.name
  ) (lib.optionAttrSetToDocList options);
  # File names and texts: units, and the lines of tmpfiles.d(5).
  units = checked;
  # The same as a directory, as it is in /etc/systemd/system.
  inherit files;
  # The rules of polkit.
  polkit = config.security.polkit.extraConfig;
  # A system to switch to, and those of its specialisations.
  system = pkgs.runCommand "system" { } (
    ''
      mkdir -p "$out/bin" "$out/specialisation"
      ln -s ${files} "$out/units"
      ln -s ${
        pkgs.writeTextFile {
          name = "polkit.rules";
          text = config.security.polkit.extraConfig;
        }
      } "$out/polkit.rules"
      ln -s ${
        pkgs.writeTextFile {
          name = "sysusers.conf";
          text = lib.concatStrings (
            lib.mapAttrsToList (name: _: "u ${name}\n") (
              lib.filterAttrs (_: user: user.isSystemUser or false) config.users.users
            )
          );
        }
      } "$out/sysusers.conf"
      cp ${./switch-to-configuration} "$out/bin/switch-to-configuration"
      mkdir -p "$out/etc/systemd/system"
      ln -s /usr/lib/systemd/system/${config.systemd.ctrlAltDelUnit} "$out/etc/systemd/system/ctrl-alt-del.target"
    ''
    + lib.concatMapAttrsStringSep "" (
      path: file:
      let
        text = pkgs.writeTextFile {
          name = "etc";
          inherit (file) text;
        };
      in
      ''
        mkdir -p "$out/etc/${dirOf path}"
        cp ${text} "$out/etc/${path}"
      ''
    ) config.environment.etc
    + lib.concatMapAttrsStringSep "" (
      name: special:
      let
        inherit
          (import ./nixos.nix {
            inherit pkgs lib;
            modules = modules ++ [
              special.configuration
              { specialisation = lib.mkForce { }; }
            ];
          })
          system
          ;
      in
      "ln -s ${system} \"$out/specialisation/${name}\"\n"
    ) config.specialisation
  );
}
