# The types of options. The description of each states the allowed values, and errors print it. The
# types of single values refuse what the engine would refuse (crates/plan/src/rules.rs), but with
# the line in the file. record.nix has the types of sets and lists, steps.nix the one of steps.
{ lib }:
let
  # A type of values that pass a check. Several definitions of a value must agree.
  checked =
    name: description: check:
    lib.mkOptionType {
      inherit name description check;
      # Whether the description fits into a longer one without parentheses.
      descriptionClass =
        if builtins.match "[^:;,]*" description == null then "nonRestrictiveClause" else "noun";
      merge = lib.mergeEqualOption;
    };
  text =
    name: description: check:
    checked name description (value: builtins.isString value && check value);

  length = builtins.stringLength;
  # Regular expressions are checked last: Nix' own are slow on long texts, or overflow its stack.
  matches =
    pattern: most: value:
    length value <= most && builtins.match pattern value != null;
  contains = part: value: builtins.replaceStrings [ part ] [ "" ] value != value;
  # Characters by their numbers, of four hexadecimal digits each.
  characters = map (number: builtins.fromJSON "\"\\u${number}\"");
  without = some: builtins.replaceStrings some (map (_: "") some);
  # The white space of Unicode.
  spaces = characters (
    lib.splitString " " "0009 000a 000b 000c 000d 0020 0085 00a0 1680 2000 2001 2002 2003 2004 2005 2006 2007 2008 2009 200a 2028 2029 202f 205f 3000"
  );
  compact = without spaces;
  # Control characters of two bytes, which regular expressions do not know.
  controls = characters (
    lib.genList (number: "00${lib.toLower (lib.toHexString (128 + number))}") 32
  );

  # One or more numbers with their units, the largest first: "1h30m", "90s", "0.5s".
  split = value: builtins.match "(0*([0-9]+)h)?(0*([0-9]+)m)?(0*([0-9]+([.][0-9]+)?)s)?" value;
  toSeconds =
    value:
    let
      parts = split value;
      number =
        index: seconds:
        let
          digits = builtins.elemAt parts index;
        in
        if digits == null then 0 else builtins.fromJSON digits * seconds;
    in
    number 1 3600 + number 3 60 + number 5 1;
  # The largest number of seconds in a plan: 100 years.
  inRange = seconds: seconds > 0 && seconds <= 3155760000;
  isWait = seconds: seconds >= 0 && seconds <= 3155760000;
  isTime =
    fits: value:
    if builtins.isString value then
      value != "" && length value <= 20 && split value != null && fits (toSeconds value)
    else
      (builtins.isInt value || builtins.isFloat value) && fits value;

  # The limits of Linux on a path and on each of its components.
  isPath = value: length value <= 4095 && !lib.elem ".." (lib.splitString "/" value);
  hasComponents = value: lib.all (part: length part <= 255) (lib.splitString "/" value);

  # The host, with a port or without, and a component of the name of an image in a registry. The
  # engine also checks the digits of an IPv6 address.
  host = "localhost|${label}([.]${label})+|${label}([.]${label})*:${port}|\\[[0-9a-fA-F:.]+](:${port})?";
  label = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
  port = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
  component = "[a-z0-9]+(([.]|__?|-+)[a-z0-9]+)*";

  statusFunctions = [
    "success()"
    "failure()"
    "always()"
    "cancelled()"
  ];
  expression = import ./expression.nix { inherit lib; };
  trim =
    value:
    let
      before = lib.findFirst (space: lib.hasPrefix space value) null spaces;
      after = lib.findFirst (space: lib.hasSuffix space value) null spaces;
    in
    if before != null then
      trim (lib.removePrefix before value)
    else if after != null then
      trim (lib.removeSuffix after value)
    else
      value;
  # The kind of a condition: `{ function; }`, a status function alone; `{ expression; }`, wrapped in
  # `${{ }}` or with a call of a status function; or `{ bash; }`.
  conditionOf =
    value:
    let
      whole = if contains "\${{" value then expression.whole (trim value) else null;
      inner = if whole == null then value else whole;
    in
    if lib.elem (lib.toLower (trim inner)) statusFunctions then
      { function = trim inner; }
    else if whole != null || callsStatus inner then
      { expression = inner; }
    else
      { bash = value; };
  callsStatus =
    value:
    contains "(" value
    &&
      lib.length (
        builtins.split "(^|[^a-z0-9_./-])(success|failure|always|cancelled) *[(] *[)]" (
          lib.toLower (expression.withoutQuotes value)
        )
      ) != 1;
  # Bash would take a misspelt status function for a missing command, and the step would be skipped
  # without a word. check/expressions.nix tells the faults of expressions.
  isCondition =
    value:
    let
      words = compact value;
    in
    words != ""
    && (
      !conditionOf value ? bash
      ||
        !contains "\${{" value
        && !lib.elem (lib.toLower words) (map (lib.removeSuffix "()") statusFunctions)
        && !lib.elem (lib.toLower words) (map lib.toLower statusFunctions)
        && !matches "[A-Za-z0-9_-]+ *[(] *[)]" 1000 (trim (expression.withoutQuotes value))
    );
in
lib.fix (
  types:
  import ./record.nix { inherit lib; }
  // import ./steps.nix { inherit lib types; }
  // rec {
    # A time span. The plan has it as a number of seconds.
    duration =
      checked "duration"
        ''duration: seconds as a number, or a text such as "90s", "30m", "1h" or "1h30m"''
        (isTime inRange)
      // inSeconds;

    # The length of a wait, which may be zero.
    wait =
      checked "wait" ''wait: seconds as a number, or a text such as "90s" or "30m"; 0 means no wait'' (
        isTime isWait
      )
      // inSeconds;

    inSeconds = {
      merge =
        loc: defs:
        let
          value = lib.mergeEqualOption loc defs;
        in
        if builtins.isString value then toSeconds value else value;
    };

    count = checked "count" "positive integer" (
      value: builtins.isInt value && value > 0 && value <= 4294967295
    );

    # A setting that jobs inherit from their workflow, and steps from their job, unless they set it.
    inherited =
      type:
      lib.mkOptionType {
        name = "inherited";
        description = "${type.description}, or null for none";
        descriptionClass = "nonRestrictiveClause";
        check = value: value == null || value == fromAbove || type.check value;
        merge =
          loc: defs:
          let
            special = lib.findFirst (
              definition: definition.value == null || definition.value == fromAbove
            ) null defs;
          in
          if special != null then
            lib.mergeEqualOption loc defs
          # As in NixActions' bash compiler, an empty set changes nothing about the level above.
          else if lib.all (definition: definition.value == { }) defs then
            lib.warn "`${lib.showOption loc}' is an empty set, which has no effect: remove it, or set `max_attempts`" fromAbove
          else
            type.merge loc defs;
        inherit (type) getSubOptions;
      };
    fromAbove = {
      _type = "from above";
    };

    # Names that become parts of units, files and variables.
    name =
      text "name" "name: letters, digits, `_` and `-`, the first a letter or `_`, at most 100"
        isName;
    isName = matches "[A-Za-z_][A-Za-z0-9_-]*" 100;

    variableName =
      text "variableName" "name of a variable: letters, digits and `_`, the first not a digit"
        (matches "[A-Za-z_][A-Za-z0-9_]*" 5000);

    # A text within a line of a log.
    label = text "label" "text of 1 to 200 bytes on one line without control characters" (
      value: compact value != "" && matches "[^[:cntrl:]]*" 200 value && without controls value == value
    );

    # A name that is also the name of a file.
    fileName =
      text "fileName"
        "name of 1 to 200 bytes on one line, without `/` and control characters, that does not begin with `.`"
        (value: label.check value && !contains "/" value && !lib.hasPrefix "." value);

    # A service has no right to listen on a lower one.
    port = checked "port" "port from 1024 to 65535" (
      value: builtins.isInt value && value >= 1024 && value <= 65535
    );

    serviceName =
      text "serviceName"
        "name of a service: at most 63 lower-case letters, digits and `-`, the first a letter, the last not `-`, and not `localhost`"
        (value: matches "[a-z]([a-z0-9-]*[a-z0-9])?" 63 value && value != "localhost");

    credentialName =
      text "credentialName"
        "name of a credential: letters, digits, `_`, `-` and `.`, the first not `.`, and not `nixactions.…`"
        (value: matches "[A-Za-z0-9_-][A-Za-z0-9_.-]*" 200 value && !lib.hasPrefix "nixactions." value);

    sandbox = lib.types.enum [
      "strict"
      "relaxed"
      "none"
    ];

    workspacePath = text "workspacePath" "path inside the workspace: relative and without `..`" (
      value: value != "" && !lib.hasPrefix "/" value && isPath value && hasComponents value
    );

    artifactPath =
      text "artifactPath"
        "path inside the workspace: relative and without `..` and expressions (values that dependents read are in `outputsFrom`)"
        (value: workspacePath.check value && !contains "\${{" value);

    # The same, also with expressions. The run checks their values.
    workdir =
      text "workdir"
        "path inside the workspace: relative and without `..`; an absolute one begins with `\${{ nixactions.workspace }}`"
        isWorkdir;
    isWorkdir =
      value:
      let
        parts = expression.segments value;
        # A name stands for the unknown values.
        known = lib.concatMapStrings (part: part.text or "x") parts;
        variable = name: value == name || lib.hasPrefix "${name}/" value;
      in
      !lib.any variable [
        "$NIXACTIONS_WORKSPACE"
        "\${NIXACTIONS_WORKSPACE}"
        "$GITHUB_WORKSPACE"
        "\${GITHUB_WORKSPACE}"
      ]
      && (lib.any (part: part ? error) parts || workspacePath.check known);

    hostPath = text "hostPath" "path on the host, as a text: absolute and without `..`" (
      value: lib.hasPrefix "/" value && isPath value
    );

    # A file that systemd reads as a credential. From 254 on, systemd does not find a file whose
    # path has a blank or a backslash.
    credentialPath =
      text "credentialPath" "path on the host, as a text: absolute, without `..`, whitespace and `\\`"
        (value: hostPath.check value && builtins.match "[^[:space:]\\]*" value != null);

    # A file with a secret.
    secretPath =
      text "secretPath"
        "path on the host, as a text: absolute, without `..`, whitespace and `\\`, and not in the store, which everybody can read"
        (value: credentialPath.check value && !lib.hasPrefix "${builtins.storeDir}/" value);

    # The root file system of a container, which must not be the host's.
    rootPath = text "rootPath" "path of a directory on the host: absolute, without `..`, and not `/`" (
      value: hostPath.check value && builtins.match "[/.]*" value == null
    );

    # The file of an image, or a reference. A plan has its text (crates/core/src/image.rs).
    imageSource =
      checked "imageSource"
        "image: a derivation or path of an archive, or a reference such as `docker://docker.io/library/alpine:3`"
        (
          value:
          lib.isDerivation value
          || builtins.isPath value
          || builtins.isString value && (hostPath.check value || isReference value)
        )
      // {
        merge = loc: defs: "${lib.mergeOneOption loc defs}";
      };
    isReference =
      value:
      let
        parts = builtins.match "docker://([^@]*)(@sha256:[0-9a-f]{64})?" value;
        name = lib.head parts;
      in
      length value <= 400
      && parts != null
      && length name <= 255
      &&
        builtins.match "(${host})/${component}(/${component})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?" name
        != null;

    digest = text "digest" "digest: `sha256:` and 64 hexadecimal digits in lower case" (
      matches "sha256:[0-9a-f]{64}" 71
    );

    capability = text "capability" "capability such as `CAP_SYS_ADMIN`" (
      matches "CAP_[A-Z]+(_[A-Z]+)*" 40
    );

    # A place in a container, which must not be its root, nor a directory that the engine fills.
    containerPath =
      text "containerPath"
        "path in the container: absolute, without `..`, not `/`, and not in /dev, /proc, /run, /sys, /tmp or /var/tmp"
        (
          value:
          hostPath.check value
          && builtins.match "[/.]*" value == null
          && builtins.match "/+(dev|proc|run|sys|tmp|var/+tmp)(/.*)?" value == null
        );

    # A mount as the options of docker have it.
    mount = text "mount" "mount: `source:target` or `source:target:ro`, both absolute paths" (
      value:
      let
        parts = lib.splitString ":" value;
        mode = lib.drop 2 parts;
      in
      lib.length parts >= 2
      && hostPath.check (lib.head parts)
      && containerPath.check (builtins.elemAt parts 1)
      && lib.elem mode [
        [ ]
        [ "ro" ]
        [ "rw" ]
      ]
    );

    # The kernel's limit.
    argument = text "argument" "text of less than 123 KiB" (value: length value < 125952);

    script = text "script" "text of a script, not blank; that of a file by `builtins.readFile`" (
      value: compact value != ""
    );

    # The program of a script, as a list of its path and its arguments, or a name that
    # write-script.nix knows.
    shell =
      checked "shell"
        "shell: `bash`, `sh`, `python`, a package, or a list of a package or program and its arguments, one with `{0}` for the script's file"
        (
          value:
          lib.elem value [
            "bash"
            "sh"
            "python"
          ]
          || lib.isDerivation value
          || builtins.isList value && value != [ ] && isShell (lib.head value) (lib.tail value)
        )
      // {
        merge =
          loc: defs:
          let
            value = lib.mergeOneOption loc defs;
            program = lib.head value;
          in
          if builtins.isString value then
            value
          else if builtins.isList value then
            [ (if builtins.isString program then program else lib.getExe program) ] ++ lib.tail value
          else
            [
              (lib.getExe value)
              "{0}"
            ];
      };
    isShell =
      program: arguments:
      (lib.isDerivation program || argument.check program && isProgram program && !contains "{0}" program)
      && lib.all argument.check arguments
      && lib.any (contains "{0}") arguments;

    inherit conditionOf;
    # Returns a hint for a condition in bash that is probably meant as an expression, or null.
    bashHint = value: expression.bashHint (trim value);
    condition =
      text "condition"
        "condition: `success()`, `failure()`, `always()` or `cancelled()`, an expression with them or in one `\${{ }}`, or a bash script without them"
        isCondition;

    # The value of a variable. Numbers and booleans are written as on GitHub. The length is limited
    # by the kernel.
    variable =
      checked "variable" "text of less than 123 KiB, path, number or boolean" (
        value:
        builtins.isBool value
        || builtins.isInt value
        || builtins.isFloat value
        || builtins.isPath value
        || lib.isDerivation value
        || builtins.isString value && length value < 125952
      )
      // {
        merge = loc: defs: toText (lib.mergeEqualOption loc defs);
      };
    variables = types.attrsOf variableName variable;
    # A value of a matrix. Expressions tell numbers and booleans from texts.
    matrixValue = variable // {
      merge =
        loc: defs:
        let
          value = lib.mergeEqualOption loc defs;
        in
        if builtins.isBool value || builtins.isInt value || builtins.isFloat value then
          value
        else
          toText value;
    };

    # Returns the text of a variable's value.
    toText =
      value:
      if builtins.isBool value then
        lib.boolToString value
      else if builtins.isInt value || builtins.isFloat value then
        builtins.toJSON value
      else
        "${value}";

    # A program and its arguments.
    command =
      checked "command" "program: a derivation that has one, or a list of its path and its arguments" (
        value:
        lib.isDerivation value
        ||
          builtins.isList value && value != [ ] && lib.all argument.check value && isProgram (lib.head value)
      )
      // {
        merge =
          loc: defs:
          let
            value = lib.mergeOneOption loc defs;
          in
          if builtins.isList value then value else [ (lib.getExe value) ];
      };
    isProgram =
      path: path != "" && (lib.hasPrefix "/" path || !contains "/" path && compact path == path);

    package = checked "package" "package such as `pkgs.jq`, and not its name" lib.isDerivation // {
      merge = lib.mergeOneOption;
    };

    # The result of `executors` and `mkExecutor`.
    executor =
      checked "executor" "executor, as `executors.local { }` or `mkExecutor { … }` returns it" (
        value: (value._type or null) == "executor"
      )
      // {
        merge = lib.mergeOneOption;
      };

    function = checked "function" "function" lib.isFunction // {
      merge = lib.mergeOneOption;
    };
  }
)
