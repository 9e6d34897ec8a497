# npm's commands. They run with the Node.js of an earlier `setupNode` or `nixShell`, or else with
# `nodejs`, but never with the host's.
{
  lib,
  types,
  arguments,
  ...
}:
let
  npm =
    name: command:
    arguments.withoutArguments (
      arguments.action name
        {
          nodejs = {
            type = types.package;
            default = arguments.package "actions.${name}" [ "nodejs" ];
          };
          args = {
            type = types.listOf types.argument;
            default = [ ];
          };
        }
        (settings: {
          name = "npm ${lib.toLower (lib.removePrefix "npm" name)}";
          bash = ''
            case $(command -v npm || true) in
              ${builtins.storeDir}/*) ;;
              *) PATH=${lib.makeBinPath [ settings.nodejs ]}:$PATH ;;
            esac
            ${command settings}
          '';
        })
    );
  script =
    name: command:
    npm name (
      { args, ... }:
      lib.concatStringsSep " " ([ command ] ++ lib.optional (args != [ ]) "-- ${arguments.quotes args}")
    );
in
{
  # npmInstall { args ? [ ]; nodejs ? pkgs.nodejs; }
  #
  # Installs the packages of package-lock.json exactly (`npm ci`), or those of package.json if there
  # is no lock file. Leaves node_modules/. Runs the scripts of packages, unless `args` has
  # "--ignore-scripts".
  npmInstall = npm "npmInstall" (
    { args, ... }:
    ''
      if [ -e package-lock.json ] || [ -e npm-shrinkwrap.json ]; then
        npm ci --no-audit --no-fund ${arguments.quotes args}
      else
        npm install --no-audit --no-fund ${arguments.quotes args}
      fi
    ''
  );

  # npmTest { args ? [ ]; nodejs ? pkgs.nodejs; }: runs the package's script `test`, with `args`.
  npmTest = script "npmTest" "npm test";

  # npmBuild { args ? [ ]; nodejs ? pkgs.nodejs; }: runs the package's script `build`, with `args`.
  npmBuild = script "npmBuild" "npm run build";

  # npmLint { args ? [ ]; nodejs ? pkgs.nodejs; }: runs the package's script `lint`, with `args`.
  npmLint = script "npmLint" "npm run lint";
}
