# The type of a workflow's source: a directory, or a repository.
{ lib, values }:
let
  inherit (values) matches;
  url = lib.mkOptionType {
    name = "gitUrl";
    description = "URL of a repository (https, http, ssh, git or file), absolute path, or `user@host:path`";
    descriptionClass = "noun";
    check = matches "(https?|ssh|git|file)://[^[:space:]]+|/[^[:space:]]*|[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:[^[:space:]]+";
    merge =
      loc: defs:
      let
        value = lib.mergeEqualOption loc defs;
      in
      # Everybody can read the unit and the record of a run.
      if matches "https?://[^/]*@.*|[a-z]+://[^/@]*:[^/@]*@.*" value then
        throw "${lib.showOption loc}: there are credentials in the URL, and everybody can read it: take them out, and name a file that has the password in `passwordFile`${lib.options.showDefs defs}"
      else
        value;
  };
  ref = lib.mkOptionType {
    name = "gitRef";
    description = "name of a branch or tag, or id of a commit";
    descriptionClass = "noun";
    check =
      value:
      matches "[A-Za-z0-9_.@+][A-Za-z0-9_./@+-]{0,199}" value
      && builtins.match ".*([.][.]|@[{]|//|[.]lock|/)" value == null
      && !lib.hasInfix ".." value;
    merge = lib.mergeEqualOption;
  };
  git = lib.types.submodule {
    _file = toString ./source.nix;
    options.git = {
      url = lib.mkOption {
        type = url;
        example = "https://git.example.org/project.git";
        description = ''
          The repository. A run fails, and its service's status says why, if it cannot be fetched.
          The next run tries again.
        '';
      };
      ref = lib.mkOption {
        type = lib.types.nullOr ref;
        default = null;
        example = "main";
        description = ''
          The branch, tag or commit. `null` is the default branch of the repository. The record of a
          run has the commit.
        '';
      };
      submodules = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = "Whether the submodules are fetched, too.";
      };
      passwordFile = lib.mkOption {
        type = lib.types.nullOr values.credentialFile;
        default = null;
        example = "/run/secrets/git-token";
        description = ''
          A file whose first line is the password or token for the URL's host, over http or https.
          No job sees it.
        '';
      };
      sshKeyFile = lib.mkOption {
        type = lib.types.nullOr values.credentialFile;
        default = null;
        example = "/run/secrets/deploy-key";
        description = ''
          A file with the private key, over ssh. The key of the host must be known to the machine,
          as `programs.ssh.knownHosts` has it. No job sees the file.
        '';
      };
      username = lib.mkOption {
        type = lib.types.strMatching "[A-Za-z0-9_.@+-]+";
        default = "git";
        example = "x-access-token";
        description = "The name of the user beside `passwordFile`.";
      };
    };
  };
in
lib.mkOptionType {
  name = "source";
  description = "absolute path as a text, package, or repository";
  descriptionClass = "nonRestrictiveClause";
  check = value: lib.types.path.check value || builtins.isAttrs value && value ? git;
  merge =
    loc: defs:
    let
      value = lib.mergeEqualOption loc defs;
    in
    if lib.all (definition: builtins.isAttrs definition.value && definition.value ? git) defs then
      git.merge loc defs
    # Nix copies a path to the store, which everybody can read, and the service would use this copy
    # for ever.
    else if builtins.isPath value then
      throw "${lib.showOption loc}: a path of Nix' is copied to the store, where everybody can read it: write it as a text, as in `source = \"${toString value}\";`${lib.options.showDefs defs}"
    else
      "${value}";
  inherit (git) getSubOptions;
}
