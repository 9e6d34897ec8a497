# Tools for later steps, which find them in PATH before the host's.
{
  lib,
  pkgs,
  types,
  arguments,
  mkAction,
  ...
}:
let
  # Adds packages to the PATH of later steps.
  add = packages: ''
    printf '%s\n' ${
      arguments.quotes (map (package: "${lib.getBin package}/bin") packages)
    } >> "$NIXACTIONS_PATH"
  '';

  # The tools of one language. The requested version is an attribute of `pkgs`.
  setup =
    {
      function,
      name,
      attributes,
      pattern,
      attribute,
      print,
    }:
    arguments.withoutArguments (
      arguments.action function
        {
          version = {
            type = lib.types.nullOr (lib.types.coercedTo types.count toString lib.types.str);
            default = null;
          };
          package = {
            type = lib.types.nullOr types.package;
            default = null;
          };
        }
        (
          { version, package }:
          let
            wanted = attribute version;
            there = lib.filter (name: builtins.match pattern name != null) (lib.attrNames pkgs);
            chosen =
              if version != null && package != null then
                throw "actions.${function}: both `version` and `package`: a package has its version"
              else if package != null then
                package
              else if version == null then
                arguments.package "actions.${function}" attributes
              else
                pkgs.${wanted}
                  or (throw "actions.${function}: these `pkgs` have no `${wanted}`, only: ${lib.concatStringsSep ", " there}");
          in
          {
            inherit name;
            deps = [ chosen ];
            bash = add [ chosen ] + print;
          }
        )
    );
in
{
  # setupNode { version ? null; package ? pkgs.nodejs; }
  #
  # Adds Node.js and npm: version "20" is `pkgs.nodejs_20`. Prints their versions.
  setupNode = setup {
    function = "setupNode";
    name = "set up Node.js";
    attributes = [ "nodejs" ];
    pattern = "nodejs_[0-9]+";
    attribute = version: "nodejs_${version}";
    print = ''
      echo "node $(node --version), npm $(npm --version)"
    '';
  };

  # setupPython { version ? null; package ? pkgs.python3; }
  #
  # Adds Python: version "3.11" is `pkgs.python311`. Prints its version. `package =
  # pkgs.python3.withPackages (python: [ python.pytest ])` adds packages.
  setupPython = setup {
    function = "setupPython";
    name = "set up Python";
    attributes = [ "python3" ];
    pattern = "python3[0-9]+";
    attribute = version: "python${lib.replaceStrings [ "." ] [ "" ] version}";
    print = ''
      python3 --version
    '';
  };

  # setupRust { packages ? with pkgs; [ rustc cargo clippy rustfmt stdenv.cc ]; }
  #
  # Adds Rust, with a linker. Prints the compiler's and cargo's versions.
  setupRust = arguments.withoutArguments (
    arguments.action "setupRust"
      {
        packages = {
          type = types.listOf types.package;
          default =
            map (name: arguments.package "actions.setupRust" [ name ]) [
              "rustc"
              "cargo"
              "clippy"
              "rustfmt"
            ]
            # The linker of rustc.
            ++ [ pkgs.stdenv.cc ];
        };
      }
      (
        { packages }:
        {
          name = "set up Rust";
          deps = packages;
          bash = add packages + ''
            rustc --version
            cargo --version
          '';
        }
      )
  );

  # nixShell [ "jq" "python3Packages.requests" pkgs.hello … ]
  #
  # Adds the programs of packages, given as packages or as their names in `pkgs`. They are built
  # with the workflow, and nothing is fetched when the workflow runs.
  nixShell =
    packages:
    let
      resolve =
        package:
        if lib.isDerivation package then
          package
        else if !builtins.isString package then
          throw "actions.nixShell: expected packages, or their names, found a ${types.kindOf package}"
        else
          lib.attrByPath (lib.splitString "." package)
            (throw "actions.nixShell: these `pkgs` have no `${package}`")
            pkgs;
    in
    if !builtins.isList packages || packages == [ ] then
      throw ''actions.nixShell: expected a list of packages, as in `nixShell [ "curl" "jq" ]`''
    else
      mkAction {
        name = "nix-shell";
        bash =
          add (map resolve packages)
          + "echo ${arguments.quote "Added ${lib.concatMapStringsSep ", " lib.getName (map resolve packages)}"}\n";
      };
}
