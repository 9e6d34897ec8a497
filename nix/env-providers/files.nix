# Variables from files. A relative path is in the job's workspace; `$CREDENTIALS_DIRECTORY/name` is
# one of the job's `credentials`.
{
  lib,
  arguments,
  variables,
  writeScript,
  ...
}:
let
  # Bash that goes on if the file exists. Otherwise it fails or sets nothing.
  present = file: required: ''
    if [ ! -e ${file} ]; then
      echo "${
        if required then "error: there is no file" else "gives nothing: there is no file"
      }" ${file} >&2
      exit ${if required then "1" else "0"}
    fi
  '';
  required = default: {
    type = lib.types.bool;
    inherit default;
  };
in
{
  # file { path; required ? false; }
  #
  # Sets the variables of a file of `NAME=value` lines, such as a `.env` file. The file is not
  # copied to the store.
  file =
    arguments.plain "envProviders.file"
      {
        path.type = variables.variablesFile;
        required = required false;
      }
      (
        { path, required }:
        let
          file = variables.shell path;
        in
        writeScript {
          name = "env-file";
          deps = variables.deps "envProviders.file";
          text =
            present file required
            + variables.read {
              source = file;
              command = "cat ${file}";
              filter = "dotenv";
            }
            + variables.toExports file;
        }
      );

  # sops { file; format ? "yaml"; required ? true; identity ? null; }
  #
  # Sets the variables of a file encrypted by sops; see `actions.sopsLoad`.
  sops =
    arguments.plain "envProviders.sops"
      {
        file.type = variables.file;
        format = {
          type = variables.format;
          default = "yaml";
        };
        identity = {
          type = lib.types.nullOr variables.secretFile;
          default = null;
        };
        required = required true;
      }
      (
        settings:
        let
          file = variables.shell settings.file;
        in
        writeScript {
          name = "env-sops";
          deps = [ (arguments.package "envProviders.sops" [ "sops" ]) ] ++ variables.deps "envProviders.sops";
          text =
            present file settings.required
            + variables.sops (removeAttrs settings [ "required" ])
            + variables.toExports file;
        }
      );
}
