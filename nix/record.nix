# The building blocks of options: sets, lists and maps whose errors name the place and the line as
# the user wrote them.
#
# nixpkgs' own types print `steps."[definition 1-entry 2]"`, take a function for a module, and name
# a file without its line. These types build on them. They have no `getSubModules`, since the module
# system would replace them by its own.
{ lib }:
let
  words = import ./words.nix { inherit lib; };
  older = import ./bash-compiler.nix { inherit lib; };

  # Returns the file and line of a set's attribute, if known. The line is useless if a function of
  # nixpkgs' `lib` made the attribute.
  placeOf =
    default: name: set:
    let
      position = builtins.unsafeGetAttrPos name set;
    in
    if position == null || lib.hasPrefix library position.file then
      default
    else
      "${position.file}:${toString position.line}";
  library =
    let
      position = builtins.unsafeGetAttrPos "evalModules" lib;
    in
    if position == null then "<unknown>" else "${dirOf position.file}/";

  # Splits the definition of a set into those of its attributes, each with its own line.
  definitions =
    { file, value }:
    lib.mapAttrsToList (name: attribute: {
      file = placeOf file name value;
      value = {
        ${name} = attribute;
      };
    }) value;

  # Names of options in other workflow engines: today's name here, or the replacement.
  elsewhere = {
    after = "needs";
    artifacts = "outputs";
    command = "bash";
    cwd = "workdir";
    depends = "needs";
    dependsOn = "needs";
    environment = "env";
    run = "bash";
    runs-on = "executor";
    runsOn = "executor";
    timeout-minutes = "timeout";
    when = "condition";
    working-directory = "workdir";
  };
  instead = {
    strategy = "jobs of a matrix are made by `mkMatrixJobs`";
    uses = "an action is a step of its own, as in `steps = [ actions.checkout ]`";
  };

  jobOptions =
    (import ./options/job.nix {
      inherit lib;
      types = import ./types.nix { inherit lib; };
    }).options;

  isSet = value: builtins.isAttrs value && !lib.isDerivation value;

  # The name of a value in errors.
  kindOf = value: if lib.isFunction value then "function" else builtins.typeOf value;

  # The end of the module system's errors.
  shown = lib.options.showDefs;
in
rec {
  inherit placeOf definitions kindOf;

  # A set of options. `what` is its name, and the module declares its options.
  record =
    what: module:
    let
      submodule = lib.types.submoduleWith {
        # The manual of NixOS names the file of each option.
        modules = [ (module // { _file = (builtins.unsafeGetAttrPos "options" module).file; }) ];
        shorthandOnlyDefinesConfig = true;
      };
      required = lib.attrNames (lib.filterAttrs (_: option: !option ? default) module.options);
      known = lib.attrNames (lib.filterAttrs (_: option: !(option.internal or false)) module.options);
      # Older names of options, and ignored options.
      renamed = lib.filterAttrs (_: new: module.options ? ${new}) (older.renamed.${what} or { });
      ignored = older.ignored.${what} or { };
      meant =
        name:
        if module.options ? job && lib.elem name (lib.attrNames jobOptions) then
          "it is an option of the job: `job = { … }: { ${name} = …; };`"
        else if lib.elem (elsewhere.${name} or null) known then
          "what is meant is `${elsewhere.${name}}`"
        else
          instead.${name} or (words.hint name known);
      # The most common mistake is a function without its call.
      checked =
        loc: definition:
        let
          unknown = lib.filter (name: !(module.options ? ${name} || renamed ? ${name} || ignored ? ${name})) (
            lib.attrNames definition.value
          );
          name = lib.head unknown;
        in
        if lib.isFunction definition.value then
          let
            arguments = lib.attrNames (lib.functionArgs definition.value);
          in
          throw "The option `${lib.showOption loc}' is one ${what}, a set of options, and is given a function: call it${
            lib.optionalString (arguments != [ ])
              ", with { ${lib.concatMapStrings (name: "${name} = …; ") arguments}}"
          }.${shown [ definition ]}"
        else if unknown != [ ] then
          throw "The option `${lib.showOption (loc ++ [ name ])}' does not exist: ${meant name}\n- In `${
            placeOf definition.file name definition.value
          }'"
        else
          definition;
      # The definition of one attribute, under today's name.
      current =
        loc: definition:
        let
          name = lib.head (lib.attrNames definition.value);
          new = renamed.${name};
          warn = text: lib.warn "`${lib.showOption (loc ++ [ name ])}' (${definition.file}): ${text}";
        in
        if renamed ? ${name} then
          warn "the name is that of NixActions' bash compiler: write `${new}`" [
            (definition // { value.${new} = definition.value.${name}; })
          ]
        else if ignored ? ${name} then
          warn "it has no effect: ${ignored.${name}}" [ ]
        else
          [ definition ];
      # It is unclear which of the two is meant.
      single =
        loc: definition:
        let
          both = lib.filter (name: definition.value ? ${name} && definition.value ? ${renamed.${name}}) (
            lib.attrNames renamed
          );
          name = lib.head both;
        in
        if both == [ ] then
          definition
        else
          throw "The option `${
            lib.showOption (loc ++ [ name ])
          }' is the older name of `${renamed.${name}}', which is there too: take one away\n- In `${
            placeOf definition.file name definition.value
          }'";
      complete =
        loc: defs:
        let
          has =
            name: definition:
            definition.value ? ${name}
            || lib.any (old: renamed.${old} == name && definition.value ? ${old}) (lib.attrNames renamed);
          missing = lib.filter (name: !lib.any (has name) defs) required;
          name = lib.head missing;
          inherit (lib.head defs) file value;
          # The line of any attribute.
          place = if value == { } then file else placeOf file (lib.head (lib.attrNames value)) value;
        in
        if missing == [ ] then
          defs
        else
          throw "The option `${lib.showOption (loc ++ [ name ])}' is missing: add it, as in `${name} = ${
            words.written module.options.${name}.example
          };`\n- In `${place}'";
    in
    lib.mkOptionType {
      name = "record";
      description = "${what} (a set of options)";
      descriptionClass = "noun";
      check = value: isSet value || lib.isFunction value;
      merge =
        loc: defs:
        let
          known = complete loc (map (definition: single loc (checked loc definition)) defs);
        in
        submodule.merge loc (lib.concatMap (current loc) (lib.concatMap definitions known));
      inherit (submodule) getSubOptions;
    };

  # Returns the options of a record that is not an option itself but an argument of a function. If
  # its line is unknown, errors name the record's use.
  evaluate =
    type: loc: value:
    let
      path = map (part: if builtins.isString part then part else "unnamed") loc;
    in
    (lib.mergeDefinitions path type [
      {
        file = lib.showOption path;
        inherit value;
      }
    ]).mergedValue;

  # A list whose elements are named by `nameOf`.
  listWith =
    { element, nameOf }:
    lib.mkOptionType {
      name = "listOf";
      inherit (lib.types.listOf element) description descriptionClass;
      check = builtins.isList;
      merge =
        loc: defs:
        let
          merged =
            definition:
            lib.imap1 (
              number: value:
              (lib.mergeDefinitions (loc ++ [ (nameOf number value) ]) element [
                {
                  inherit (definition) file;
                  inherit value;
                }
              ]).optionalValue
            ) definition.value;
        in
        map (element: element.value) (lib.filter (element: element ? value) (lib.concatMap merged defs));
      emptyValue.value = [ ];
      getSubOptions = prefix: element.getSubOptions (prefix ++ [ "*" ]);
    };
  listOf =
    element:
    listWith {
      inherit element;
      nameOf = number: _: "entry ${toString number}";
    };

  # A set whose names follow a rule, given as a type of texts.
  attrsOf =
    rule: element:
    let
      plain = lib.types.attrsOf element;
      named =
        loc: definition:
        let
          bad = lib.filter (name: !rule.check name) (lib.attrNames definition.value);
        in
        if bad == [ ] then
          definition
        else
          throw "`${lib.head bad}' in `${lib.showOption loc}' is not a ${rule.description}.\n- In `${definition.file}'";
    in
    lib.mkOptionType {
      name = "attrsOf";
      inherit (plain) description descriptionClass;
      check = isSet;
      merge = loc: defs: plain.merge loc (map (named loc) (lib.concatMap definitions defs));
      emptyValue.value = { };
      getSubOptions = prefix: element.getSubOptions (prefix ++ [ "<name>" ]);
    };
}
