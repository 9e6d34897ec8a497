# The executors that come with systemd. Each function's set may be empty; `name` tells apart those with different settings.
{ lib, types, ... }:
let
  executor =
    function: defaults: compile: arguments:
    let
      known = lib.attrNames defaults;
      unknown = lib.filter (name: !lib.elem name known) (lib.attrNames arguments);
      settings = defaults // arguments;
    in
    if !builtins.isAttrs arguments then
      throw "executors.${function}: expects a set, as in `executors.${function} { }`, got a ${builtins.typeOf arguments}"
    else if unknown != [ ] then
      throw "executors.${function}: unknown: ${lib.concatStringsSep ", " unknown} (known: ${lib.concatStringsSep ", " known})"
    else if !types.isName settings.name then
      throw "executors.${function}: `${toString settings.name}` is no name: it is made of letters, digits, `_` and `-`, and begins with no digit or `-`"
    else
      {
        _type = "executor";
        inherit (settings) name;
        plan = compile settings;
      };
  text = lib.mapAttrs (_: types.toText);
in
rec {
  # Jobs are services of the host.
  systemd =
    executor "systemd"
      {
        name = "systemd";
        copyRepo = true;
        sandbox = "strict";
        properties = { };
      }
      (settings: {
        type = "systemd";
        inherit (settings) copyRepo sandbox;
        properties = text settings.properties;
      });

  # The same without settings of systemd's.
  local =
    executor "local"
      {
        name = "local";
        copyRepo = true;
      }
      (settings: {
        type = "systemd";
        inherit (settings) copyRepo;
      });

  # Jobs are containers of systemd-nspawn(1) with a root file system from the store.
  nspawn =
    executor "nspawn"
      {
        name = "nspawn";
        copyRepo = true;
        root = throw "executors.nspawn: `root` is missing: the directory that is the container's root file system";
        network = "host";
        properties = { };
      }
      (settings: {
        type = "nspawn";
        root = "${settings.root}";
        inherit (settings) copyRepo network;
        properties = text settings.properties;
      });

  # The name that NixActions' users know it by.
  nixosContainer = nspawn;
}
