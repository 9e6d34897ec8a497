# Source trees. By default a job has one already: the executor copies it (`copyRepo`).
{
  lib,
  types,
  arguments,
  ...
}:
let
  inherit (arguments)
    action
    package
    quote
    withoutArguments
    ;

  # A name that git would take for an option is not allowed.
  word = lib.types.strMatching "[^-].*";
in
{
  # checkout { repository ? null; ref ? null; path ? "."; depth ? 1; submodules ? false; }
  #
  # Without arguments: prints the commit of the source tree, and fails if there is none. With `ref`:
  # checks out this branch, tag or commit of the source tree, and discards the tree's changes. With
  # `repository`: clones it to `path`, at `ref` or its default branch, with `depth` commits of
  # history (0: all). Leaves the files, and a detached HEAD after a checkout.
  checkout = withoutArguments (
    action "checkout"
      {
        repository = {
          type = lib.types.nullOr (word // { description = "URL of a git repository, or a path to one"; });
          default = null;
        };
        ref = {
          type = lib.types.nullOr (word // { description = "branch, tag or commit"; });
          default = null;
        };
        path = {
          type = types.workspacePath;
          default = ".";
        };
        depth = {
          type = lib.types.ints.unsigned;
          default = 1;
        };
        submodules = {
          type = lib.types.bool;
          default = false;
        };
      }
      (
        {
          repository,
          ref,
          path,
          depth,
          submodules,
        }:
        let
          limit = lib.optionalString (depth > 0) "--depth ${toString depth}";
          # A name may begin with a dash.
          at = quote "./${path}";
        in
        {
          name = "checkout";
          deps = [ (package "actions.checkout" [ "git" ]) ];
          bash =
            (
              if repository != null then
                ''
                  if [ -e ${at} ] && [ -n "$(ls --almost-all ${at})" ]; then
                    echo "error: the directory" ${quote path} "is not empty: clone to another \`path\`, or use an executor with \`copyRepo = false\`" >&2
                    exit 1
                  fi
                  git init --quiet ${at}
                  cd ${at}
                  git remote add origin ${quote repository}
                  git fetch --quiet --no-tags ${limit} origin ${if ref == null then "HEAD" else quote ref}
                  git -c advice.detachedHead=false checkout --quiet --force --detach FETCH_HEAD
                ''
              else
                ''
                  cd ${at}
                  if ! git rev-parse --quiet --verify HEAD >/dev/null 2>&1; then
                    echo "error: no git repository found: set \`repository\`, or use an executor with \`copyRepo\` in a repository" >&2
                    exit 1
                  fi
                ''
                + lib.optionalString (ref != null) ''
                  if ! git rev-parse --quiet --verify ${quote "${ref}^{commit}"} >/dev/null; then
                    echo "error: the source tree has no branch, tag or commit" ${quote ref} >&2
                    exit 1
                  fi
                  git -c advice.detachedHead=false checkout --quiet --force --detach ${quote ref}
                ''
            )
            + lib.optionalString submodules ''
              git submodule --quiet update --init --recursive ${limit}
            ''
            + ''
              git --no-pager log --max-count=1 --format='At %h %s'
            '';
        }
      )
  );
}
