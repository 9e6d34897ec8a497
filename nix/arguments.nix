# Checks the arguments of the library's functions. A typo, a missing argument or a wrong type is an
# error that names the function, the argument, and the known ones. An argument is `{ type; }`, with
# a `default` if it is optional.
{
  lib,
  pkgs,
  types,
  mkAction,
  ...
}:
let
  # The options of a step or job that a user may add. Only their names are used.
  optionsOf =
    level:
    lib.optionalAttrs (level != null) (
      removeAttrs (lib.filterAttrs (_: option: !(option.internal or false))
        (import (./options + "/${level}.nix") { inherit lib types; }).options
      ) decided.${level}
    );
  decided = {
    step = [
      "bash"
      "script"
      "shell"
      "deps"
      "package"
      "args"
    ];
    job = [
      "steps"
      "actions"
      "matrix"
    ];
  };
  words = import ./words.nix { inherit lib; };
  inherit (words) quoted;

  # Returns a function from the arguments to the result of `build`. Options of the `level` are
  # passed on if given; another module checks them.
  function =
    name: known: level: build: arguments:
    let
      fail = text: throw "${name}: ${text}";
      names = lib.attrNames known;
      options = optionsOf level;
      all = names ++ lib.attrNames options;
      list = "(known: ${lib.concatStringsSep ", " names}${
        lib.optionalString (
          level != null
        ) "; and the options of a ${level}: ${lib.concatStringsSep ", " (lib.attrNames options)}"
      })";
      unknown = lib.filter (argument: !lib.elem argument all) (lib.attrNames arguments);
      near = argument: words.near argument all;
      hint =
        argument: lib.optionalString (near argument != [ ]) ", did you mean `${lib.head (near argument)}`?";
      missing = lib.filter (argument: !(arguments ? ${argument} || known.${argument} ? default)) names;
      position = argument: builtins.unsafeGetAttrPos argument arguments;
      value =
        argument: option:
        if !(arguments ? ${argument}) then
          option.default
        else
          (lib.mergeDefinitions (lib.splitString "." name ++ [ argument ]) option.type [
            {
              file =
                if position argument == null then
                  "${name}.${argument}"
                else
                  "${(position argument).file}:${toString (position argument).line}";
              value = arguments.${argument};
            }
          ]).mergedValue;
    in
    if !builtins.isAttrs arguments then
      fail "expected a set with ${quoted names}, found a ${types.kindOf arguments}"
    else if unknown != [ ] then
      fail "unknown argument `${lib.head unknown}`${hint (lib.head unknown)} ${list}"
    else if missing != [ ] then
      fail "argument `${lib.head missing}` is missing: ${
        known.${lib.head missing}.type.description
      } ${list}"
    else
      build (lib.mapAttrs value known) (builtins.intersectAttrs options arguments);
  # The given options win. Variables are added to existing ones.
  with' =
    built: given:
    built
    // given
    // lib.optionalAttrs (built ? env && builtins.isAttrs (given.env or null)) {
      env = built.env // given.env;
    };
in
rec {
  # A function with arguments of its own only.
  plain =
    name: known: build:
    function name known null (settings: _: build settings);

  # An action. It also takes the options of a step, except for those that define the action.
  action =
    name: known: build:
    function "actions.${name}" known "step" (settings: given: mkAction (with' (build settings) given));

  # A job. It also takes the options of a job.
  job =
    name: known: build:
    function "jobs.${name}" known "job" (settings: given: with' (build settings) given);

  # Makes an action without mandatory arguments usable as it is, and callable with arguments.
  withoutArguments = action: action { } // { __functor = _: action; };

  # Returns the first of these packages that `pkgs` has. Evaluated only when it is used.
  package =
    function: names:
    let
      name = lib.findFirst (name: pkgs ? ${name}) null names;
    in
    if name == null then
      throw "${function}: it needs `pkgs.${lib.head names}`, which these `pkgs` do not have"
    else
      pkgs.${name};

  # Returns one or several words for bash. They are in double quotes, since shellcheck takes a `$`
  # in single ones for a mistake.
  quote =
    text:
    let
      special = [
        "\\"
        "\""
        "$"
        "`"
      ];
    in
    if builtins.match "[A-Za-z0-9_./:=,@%+-]+" text != null then
      text
    else
      "\"${lib.escape special text}\"";
  quotes = lib.concatMapStringsSep " " quote;

  # Returns bash that fails with the names of all variables that are unset or empty.
  requireVariables = names: ''
    names=(${lib.concatStringsSep " " names}) missing=()
    for name in "''${names[@]}"; do
      [ -n "''${!name-}" ] || missing+=("$name")
    done
    if [ "''${#missing[@]}" -gt 0 ]; then
      echo "error: not set: ''${missing[*]}" >&2
      exit 1
    fi
  '';

  # Returns a list of names of variables.
  variableNames =
    name: names:
    if !builtins.isList names || names == [ ] then
      throw ''${name}: expected a list of names of variables, as in `${name} [ "API_KEY" ]`''
    else
      types.evaluate (types.listOf types.variableName) (lib.splitString "." name) names;
}
