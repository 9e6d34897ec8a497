# Types that nixpkgs' module system does not have. Each says in its description what is allowed: that is what an error prints.
{ lib }:
let
  inherit (lib) types;

  # One or more numbers with their units, the largest first: "1h30m", "90s", "0.5s".
  units = {
    h = 3600;
    m = 60;
    s = 1;
  };
  split = text: builtins.match "(([0-9]+)h)?(([0-9]+)m)?(([0-9]+([.][0-9]+)?)s)?" text;
  seconds =
    text:
    let
      parts = split text;
      number = index: unit: if builtins.elemAt parts index == null then 0 else builtins.fromJSON (builtins.elemAt parts index) * units.${unit};
    in
    number 1 "h" + number 3 "m" + number 5 "s";
  isDuration =
    value:
    if builtins.isString value then
      value != "" && split value != null && seconds value > 0
    else
      (builtins.isInt value || builtins.isFloat value) && value > 0;
in
rec {
  # How long something takes; in the plan a number of seconds.
  duration = lib.mkOptionType {
    name = "duration";
    description = ''duration: seconds as a number, or a text like "90s", "30m", "1h" or "1h30m"'';
    descriptionClass = "nonRestrictiveClause";
    check = isDuration;
    merge = loc: defs: toSeconds (lib.mergeEqualOption loc defs);
  };

  # Returns the seconds of a duration.
  toSeconds = value: if builtins.isString value then seconds value else value;

  # A setting that jobs have from their workflow and steps from their job, where they do not have their own; `null` switches it off.
  inherited = type: types.either (types.enum [ "inherit" ]) (types.nullOr type);

  # A name that units, files and variables are made of.
  name = lib.mkOptionType {
    name = "name";
    description = "name: a letter or `_`, then letters, digits, `_` and `-`, at most 100 of them";
    descriptionClass = "nonRestrictiveClause";
    check = value: builtins.isString value && isName value;
    merge = lib.mergeEqualOption;
  };
  isName = text: builtins.match "[A-Za-z_][A-Za-z0-9_-]*" text != null && builtins.stringLength text <= 100;

  # Variables; numbers and booleans are written as GitHub's are.
  variables = types.attrsOf variable;
  variable = lib.mkOptionType {
    name = "variable";
    description = "text, path, number or boolean";
    descriptionClass = "nonRestrictiveClause";
    check = value: builtins.isString value || builtins.isPath value || builtins.isInt value || builtins.isFloat value || builtins.isBool value || lib.isDerivation value;
    merge = loc: defs: toText (lib.mergeEqualOption loc defs);
  };
  toText =
    value:
    if builtins.isBool value then
      lib.boolToString value
    else if builtins.isInt value || builtins.isFloat value then
      builtins.toJSON value
    else
      "${value}";

  # A set of options as it stands, never a function: that one was not called is the mistake it would be. Each of its attributes is a
  # definition of its own, so that an error names the line where it stands.
  record =
    module:
    let
      type = types.submoduleWith {
        modules = [ module ];
        shorthandOnlyDefinesConfig = true;
      };
    in
    type
    // {
      check = value: builtins.isAttrs value && !lib.isDerivation value;
      description = "set of options";
      merge = loc: defs: type.merge loc (lib.concatMap definitions defs);
    };

  # Splits the definition of a set into those of its attributes.
  definitions =
    { file, value }:
    lib.mapAttrsToList (name: attribute: {
      file = place file (builtins.unsafeGetAttrPos name value);
      value = {
        ${name} = attribute;
      };
    }) value;
  place = default: position: if position == null then default else "${position.file}:${toString position.line}";

  # A list of steps, each of which an error calls by its name where it has one.
  steps =
    element:
    let
      plain = types.listOf element;
    in
    plain
    // {
      merge =
        loc: defs:
        lib.concatMap (
          definition:
          lib.imap1 (
            number: value:
            (lib.mergeDefinitions (loc ++ [ (nameOf number value) ]) element [
              {
                inherit (definition) file;
                inherit value;
              }
            ]).mergedValue
          ) definition.value
        ) defs;
    };
  nameOf =
    number: value:
    let
      name = value.name or null;
    in
    if builtins.isAttrs value && builtins.isString name then name else "step ${toString number}";

  # A program and its arguments: a derivation that has a main program, or an argument vector.
  command = types.coercedTo types.package (package: [ (lib.getExe package) ]) (types.nonEmptyListOf types.str);

  # Files of the host by name, named and not copied to the store.
  paths = types.attrsOf (
    types.addCheck types.str (lib.hasPrefix "/")
    // {
      description = "text that is an absolute path";
    }
  );

  # What `executors` and `mkExecutor` return. The plan has one of each name, so two of one name must be the same.
  executor = lib.mkOptionType {
    name = "executor";
    description = "executor: what a function of `executors` or `mkExecutor` returns";
    descriptionClass = "nonRestrictiveClause";
    check = value: (value._type or null) == "executor";
    merge = lib.mergeOneOption;
  };
}
