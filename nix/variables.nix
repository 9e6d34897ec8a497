# Passes secrets from their storage to the steps of a job. They exist only in pipes and in a shell's
# own memory: never on a command line, in a file or in the log. variables.jq has the formats.
{
  lib,
  types,
  arguments,
  ...
}:
rec {
  # The `deps` of scripts made with these functions.
  deps = function: [ (arguments.package function [ "jq" ]) ];

  # A file as an argument: a path, which Nix copies to the store, or a text. `$NAME` in the text is
  # expanded when it is used.
  file = lib.types.either lib.types.path lib.types.str // {
    description = "file: a path, or text that may begin with a variable, as in \"$CREDENTIALS_DIRECTORY/name\"";
  };

  # A file that must not get into the store, where everybody can read it.
  secretFile = lib.mkOptionType {
    name = "secretFile";
    description = ''file as text, as in "$CREDENTIALS_DIRECTORY/age-key" or "/etc/ci/age.key"; a path of Nix' would be copied to the store, where everybody can read it'';
    descriptionClass = "nonRestrictiveClause";
    check =
      value:
      builtins.isString value
      && value != ""
      && !builtins.hasContext value
      && !lib.hasPrefix builtins.storeDir value;
    merge = lib.mergeEqualOption;
  };

  # A file of variables. A file in the store is allowed, since NixActions' bash compiler allows it.
  variablesFile = lib.mkOptionType {
    name = "variablesFile";
    inherit (secretFile) description descriptionClass;
    check = value: secretFile.check value || isStored value;
    merge =
      loc: defs:
      let
        value = lib.mergeEqualOption loc defs;
      in
      if isStored value then
        lib.warn "${lib.showOption loc}: `${value}` is in the store, where everybody can read it: write public values as `envProviders.static { … }`" "${
          value
        }"
      else
        value;
  };
  isStored =
    value:
    lib.isDerivation value || builtins.isString value && lib.hasPrefix "${builtins.storeDir}/" value;

  # The chosen fields and their new names. `null` takes all fields.
  variables = lib.types.nullOr (types.attrsOf types.variableName lib.types.str);

  # Returns a word for bash.
  shell =
    value:
    let
      part =
        part:
        if builtins.isList part then
          "\"${lib.head part}\""
        else
          lib.optionalString (part != "") (arguments.quote part);
      parts = builtins.split "([$][A-Za-z_][A-Za-z0-9_]*)" value;
    in
    if !builtins.isString value then
      arguments.quote "${value}"
    else if value == "" then
      "\"\""
    else
      lib.concatMapStrings part parts;

  # Returns bash that reads variables.
  read =
    {
      # The name in errors, as a word for bash.
      source,
      # The command that prints the variables.
      command,
      # The filter of jq that makes an object of the output.
      filter,
      variables ? null,
    }:
    # A trace, which $SHELLOPTS may turn on, would show values before they are masked.
    ''
      set +o xtrace
      printed=$(${command})
      variables=$(printf '%s' "$printed" | ${
        jq source "--raw-input --slurp" "${filter} | chosen(${builtins.toJSON variables}) | texts"
      })
    '';

  # Returns bash that masks the variables and then passes them on to later steps.
  toSteps = source: ''
    printf '%s' "$variables" | ${jq source "--raw-output" "masks"}
    printf '%s' "$variables" | ${jq source "--raw-output" "heredocs"} >> "$NIXACTIONS_ENV"
    printf '%s' "$variables" | ${
      jq source "--raw-output" ''"Loaded " + if . == {} then "nothing" else keys | join(", ") end''
    }
  '';

  # Returns bash that prints the variables as a provider does.
  toExports = source: ''
    printf '%s' "$variables" | ${jq source "--raw-output" "exports"}
  '';

  jq =
    source: options: filter:
    "jq ${options} --arg source ${source} ${lib.escapeShellArg "${builtins.readFile ./variables.jq}\n${filter}"}";

  # Returns bash that decrypts a file with sops.
  sops =
    {
      file,
      format,
      identity,
      variables ? null,
    }:
    lib.optionalString (identity != null) ''
      export SOPS_AGE_KEY_FILE=${shell identity}
    ''
    + read {
      source = shell file;
      command = "sops --decrypt --input-type ${format} --output-type ${
        if format == "dotenv" then "dotenv" else "json"
      } ${shell file}";
      filter = if format == "dotenv" then "dotenv" else "json";
      inherit variables;
    };
  format = lib.types.enum [
    "yaml"
    "json"
    "dotenv"
  ];
}
