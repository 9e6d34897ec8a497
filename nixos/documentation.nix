# Renders the module's options: the list in docs/nixos.md, which tests/module.rs compares with this.
# The options of a workflow itself are documented with the language.
{ lib, options }:
let
  inherit (import ../nix/words.nix { inherit lib; }) fill linked;
  documented = lib.filter (
    option:
    option.visible
    && !option.internal
    && lib.hasPrefix "services.nixactions." option.name
    && !lib.hasInfix ".settings." option.name
  ) (lib.optionAttrSetToDocList options);

  # Short values on one line, others in a block.
  code =
    title: value:
    lib.optionalString (value != null) (
      if lib.hasInfix "\n" (lib.removeSuffix "\n" value.text) then
        "${title}:\n\n```nix\n${lib.removeSuffix "\n" value.text}\n```\n"
      else
        "${title}: `${lib.removeSuffix "\n" value.text}`\n"
    );
  # Roles of the manual, in Markdown.
  plain = text: builtins.replaceStrings [ "{manpage}" "{file}" "{option}" ] [ "" "" "" ] text;
  section =
    option:
    ''
      ### `${option.name}`

      ${fill (linked (plain option.description))}

    ''
    + lib.concatStringsSep "\n" (
      lib.filter (text: text != "") [
        "${fill "Type: ${option.type}"}\n"
        (code "Default" (option.default or null))
        (code "Example" (option.example or null))
      ]
    );
in
lib.concatMapStringsSep "\n" section documented
