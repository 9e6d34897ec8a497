# A stand-in for home-manager: the options that the module in home/ sets, and the text that
# home-manager makes of units. Written for these tests by what home-manager documents.
{
  pkgs ? import <nixpkgs> { overlays = [ (final: _: { gitMinimal = final.git; }) ]; },
  lib ? pkgs.lib,
  # The modules of the user's configuration.
  modules,
}:
let
  option = type: default: lib.mkOption { inherit type default; };
  value = lib.types.oneOf [
    lib.types.bool
    lib.types.int
    lib.types.str
  ];
  sections = option (lib.types.attrsOf (
    lib.types.attrsOf (lib.types.attrsOf (lib.types.either value (lib.types.listOf value)))
  )) { };
  home = {
    options = {
      assertions = option (lib.types.listOf lib.types.raw) [ ];
      lib = option (lib.types.attrsOf lib.types.attrs) { };
      home.packages = option (lib.types.listOf lib.types.package) [ ];
      systemd.user = {
        services = sections;
        timers = sections;
      };
      xdg = lib.genAttrs [ "configFile" "stateFile" ] (
        _: option (lib.types.attrsOf (lib.types.attrsOf lib.types.str)) { }
      );
    };
    config._module.args = { inherit pkgs; };
  };
  inherit
    (lib.evalModules {
      modules = [
        home
        ../../home
      ]
      ++ modules;
    })
    config
    ;

  text = lib.generators.toINI { listsAsDuplicateKeys = true; };
  files = lib.concatMapAttrs (
    kind: lib.mapAttrs' (name: unit: lib.nameValuePair "${name}.${kind}" (text unit))
  );
  failed = map (assertion: assertion.message) (
    lib.filter (assertion: !assertion.assertion) config.assertions
  );
  units =
    if failed == [ ] then
      files {
        service = config.systemd.user.services;
        timer = config.systemd.user.timers;
      }
      // lib.mapAttrs' (
        path: file: lib.nameValuePair (lib.removePrefix "systemd/user/" path) file.text
      ) config.xdg.configFile
    else
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}";
in
{
  # File names and texts.
  inherit units;
  # The same of files below `~/.local/state`.
  state = lib.mapAttrs (_: file: file.text) config.xdg.stateFile;
  # The same as a directory, as it is in ~/.config/systemd/user.
  files = pkgs.runCommand "units" { } (
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
      ''
        mkdir -p "$(dirname "$out/${name}")"
        cp ${file} "$out/${name}"
      ''
    ) units
  );
}
