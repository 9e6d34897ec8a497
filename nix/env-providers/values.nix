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
  # Gives these values. They are in the store, where everybody can read them, so they are not
  # secret: the engine does not mask what follows the comment that is printed first.
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
  # Gives one variable: what a script prints, without the line ends after it. It fails as the script
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
          # Within single quotes all is as it stands, but for those themselves.
          text = ''
            set +o xtrace
            value=$(${lib.getExe script})
            quote="'"
            printf "export ${name}='%s'\n" "''${value//$quote/$quote\\$quote$quote}"
          '';
        }
      );
}
