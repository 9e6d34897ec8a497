# The module's options -> the list in docs/nixos.md, which tests/module.rs holds to this. A
# workflow's own options are documented with the language, not here again.
{ lib, options }:
let
  inherit (import ../nix/words.nix { inherit lib; }) fill;
  documented = lib.filter (
    option:
    option.visible
    && !option.internal
    && lib.hasPrefix "services.nixactions." option.name
    && !lib.hasInfix ".settings." option.name
  ) (lib.optionAttrSetToDocList options);

  # On its line where it is one, else in a block of its own.
  code =
    title: value:
    lib.optionalString (value != null) (
      if lib.hasInfix "\n" (lib.removeSuffix "\n" value.text) then
        "${title}:\n\n```nix\n${lib.removeSuffix "\n" value.text}\n```\n"
      else
        "${title}: `${lib.removeSuffix "\n" value.text}`\n"
    );
  # The manual's roles, as Markdown knows them.
  plain = text: builtins.replaceStrings [ "{manpage}" "{file}" "{option}" ] [ "" "" "" ] text;
  section =
    option:
    ''
      ### `${option.name}`

      ${fill (plain option.description)}

    ''
    + lib.concatStringsSep "\n" (
      lib.filter (text: text != "") [
        "Type: ${option.type}\n"
        (code "Default" (option.default or null))
        (code "Example" (option.example or null))
      ]
    );
in
lib.concatMapStringsSep "\n" section documented
