# Variables that need no file.
{
  lib,
  pkgs,
  types,
  arguments,
  writeScript,
  ...
}:
{
  # static { NAME = value; … }
  #
  # Sets these values. They are in the store, which everybody can read, so they are not secret. The
  # script prints a comment first, after which the engine masks nothing.
  static =
    values:
    let
      checked = types.evaluate types.variables [ "envProviders" "static" ] values;
      export = name: value: "export ${name}=${lib.escapeShellArg value}\n";
    in
    writeScript {
      name = "env-static";
      text = "cat ${
        pkgs.writeTextFile {
          name = "variables";
          text = lib.concatStrings ([ "# nixactions: not secret\n" ] ++ lib.mapAttrsToList export checked);
        }
      }";
    };

  # command { name; bash; deps ? [ ]; }
  #
  # Sets one variable to the output of a script, without trailing newlines. Fails if the script
  # does.
  command =
    arguments.plain "envProviders.command"
      {
        name.type = types.variableName;
        bash.type = types.script;
        deps = {
          type = types.listOf types.package;
          default = [ ];
        };
      }
      (
        {
          name,
          bash,
          deps,
        }:
        let
          script = writeScript {
            name = "print-${name}";
            text = bash;
            inherit deps;
          };
        in
        writeScript {
          name = "env-${name}";
          # Within single quotes, only single quotes need an escape.
          text = ''
            set +o xtrace
            value=$(${lib.getExe script})
            quote="'"
            printf "export ${name}='%s'\n" "''${value//$quote/$quote\\$quote$quote}"
          '';
        }
      );
}
