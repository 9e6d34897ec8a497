# The types of this module's own options.
{ lib }:
let
  matches = pattern: value: builtins.isString value && builtins.match pattern value != null;
  matching =
    name: description: pattern:
    lib.mkOptionType {
      inherit name description;
      descriptionClass = "noun";
      check = matches pattern;
      merge = lib.mergeEqualOption;
    };
  number = "[0-9]+([.][0-9]+)?";
  # Nix would copy a path into the store.
  file =
    name: description: pattern:
    lib.mkOptionType {
      inherit name description;
      descriptionClass = "noun";
      check = value: matches pattern value || builtins.isPath value;
      merge =
        loc: defs:
        let
          value = lib.mergeEqualOption loc defs;
        in
        if builtins.isPath value || lib.hasPrefix "${builtins.storeDir}/" value then
          throw "${lib.showOption loc}: everybody can read the store: name a file outside of it, as a text, as in `\"/run/secrets/ci.env\"`${lib.options.showDefs defs}"
        else
          value;
    };
in
{
  inherit matches;

  # Whether a URL of a repository means ssh.
  isSsh = url: matches "ssh://.*|[^/:]+@[^/:]+:.*" url;

  # A size, as for systemd's MemoryMax= and for `nixactions clean --max-size`.
  size = matching "size" ''size such as "512M" or "10G"'' "0*[1-9][0-9]*[KMGT]";
  sizeOrShare =
    matching "sizeOrShare"
      ''size such as "512M" or "10G", or a share of the machine's memory such as "50%"''
      "0*[1-9][0-9]*[KMGT]|0*[1-9][0-9]?%|100%";
  cpuQuota =
    matching "cpuQuota" ''time of one CPU in percent, such as "400%" for four CPUs''
      "0*[1-9][0-9]*%";
  tasks =
    matching "tasks" ''number of tasks such as "4096", or a share of the machine's such as "20%"''
      "0*[1-9][0-9]*|0*[1-9][0-9]?%";
  age = matching "age" ''age such as "12h", "30d" or "2w"'' "0*[1-9][0-9]*(h|d|w)";
  timeSpan =
    matching "timeSpan" ''time span of systemd.time(7) such as "30min" or "1h 30min"''
      "${number} ?(us|ms|s|sec|m|min|h|hr|d|day|days|w|week|weeks)?( ${number} ?(us|ms|s|sec|m|min|h|hr|d|day|days|w|week|weeks))*";
  weight = lib.types.ints.between 1 10000;

  # A file that the run reads when it starts.
  secretFile = file "secretFile" "absolute path outside the store, as a text" "/.*";

  # A file that systemd reads when a unit starts. From 254 on, systemd does not find a file whose
  # path has a blank or a backslash.
  credentialFile =
    file "credentialFile" "absolute path outside the store, without spaces and `\\`, as a text"
      "/[^[:space:]\\]*";

  # An executor of this name, or another one.
  executor =
    { types, executors }:
    types.executor
    // {
      description = "name of one of `services.nixactions.executors`, or ${types.executor.description}";
      check = value: builtins.isString value || types.executor.check value;
      merge =
        loc: defs:
        let
          value = lib.mergeOneOption loc defs;
          words = import ../nix/words.nix { inherit lib; };
        in
        if !builtins.isString value then
          value
        else
          executors.${value}
            or (throw "${lib.showOption loc}: there is no executor `${value}` in `services.nixactions.executors`: ${words.hint value (lib.attrNames executors)}${lib.options.showDefs defs}");
    };

  # Units that start after runs.
  notify =
    let
      template =
        matching "templateUnit" ''template of a service, such as "mail@.service"''
          "[A-Za-z0-9:_.-]{1,80}@[.]service";
      units =
        event: description:
        lib.mkOption {
          type = lib.types.listOf template;
          default = [ ];
          example = [ "mail-on-${event}@.service" ];
          inherit description;
        };
    in
    {
      failure = units "failure" ''
        Template units that start when a run has failed. The run's id is the instance, `%i` in the
        unit. `nixactions show --digest` writes a text about the run. They also start for a run that
        was lost, when the next command closes its record.
      '';
      success = units "success" "Template units that start when a run has succeeded.";
      recovery = units "recovery" ''
        Template units that start when a run has succeeded, and the run of its workflow before it
        had failed.
      '';
    };

  # The value of a variable or an input.
  scalar = lib.types.oneOf [
    lib.types.str
    lib.types.int
    lib.types.bool
  ];
}
