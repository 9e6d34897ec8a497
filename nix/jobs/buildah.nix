# Container images, built and pushed with buildah: no daemon, no root.
{
  lib,
  types,
  arguments,
  executors,
  ...
}:
let
  text.type = lib.types.str;
  optional = default: type: { inherit default type; };

  # An image's layers are plain directories, and all files belong to the one user that a job has.
  environment = {
    BUILDAH_ISOLATION = "chroot";
    STORAGE_DRIVER = "vfs";
    STORAGE_OPTS = "vfs.ignore_chown_errors=true";
  };

  # Where a registry is logged in to is its host.
  host = registry: lib.head (lib.splitString "/" registry);
in
{
  # buildahBuildPush { image; name ? image; tags ? [ "latest" ]; context ? "."; dockerfile ? "Dockerfile"; buildArgs ? { }; push ? true;
  #   registry ? null; registryUsername ? "REGISTRY_USERNAME"; registryPassword ? "REGISTRY_PASSWORD"; registries ? { };
  #   buildahExtraArgs ? [ ]; buildah ? pkgs.buildah; }
  #
  # A job that builds an image and pushes it, by all its tags, to `registry`, and to each of `registries`: `{ "ghcr.io/me" = { username = "GHCR_USER";
  # password = "GHCR_TOKEN"; }; }`, which names the variables that hold these. Where they are not set it does not log in.
  # Leaves the output `digest`, the image's.
  buildahBuildPush =
    arguments.job "buildahBuildPush"
      {
        image = text;
        name = optional null (lib.types.nullOr lib.types.str);
        tags = optional [ "latest" ] (lib.types.nonEmptyListOf (lib.types.strMatching "[A-Za-z0-9_][A-Za-z0-9_.-]*"));
        context = optional "." lib.types.str;
        dockerfile = optional "Dockerfile" lib.types.str;
        buildArgs = optional { } (lib.types.attrsOf types.variable);
        push = optional true lib.types.bool;
        registry = optional null (lib.types.nullOr lib.types.str);
        registryUsername = optional "REGISTRY_USERNAME" arguments.variable;
        registryPassword = optional "REGISTRY_PASSWORD" arguments.variable;
        registries = optional { } (lib.types.attrsOf (lib.types.submodule {
          options = lib.genAttrs [ "username" "password" ] (_: lib.mkOption { type = arguments.variable; });
        }));
        buildahExtraArgs = optional [ ] (lib.types.listOf lib.types.str);
        buildah = optional (arguments.package "jobs.buildahBuildPush" [ "buildah" ]) lib.types.package;
      }
      (
        settings:
        let
          first = lib.head settings.tags;
          local = "${settings.image}:${first}";
          name = if settings.name == null then settings.image else settings.name;
          # Where the image goes, and the variables with which to log in there.
          own = {
            ${if settings.registry == null then null else settings.registry} = {
              username = settings.registryUsername;
              password = settings.registryPassword;
            };
          };
          # An image that names its registry itself goes there.
          inImage = {
            ${if settings.registry == null && settings.registries == { } then "" else null} = {
              username = settings.registryUsername;
              password = settings.registryPassword;
            };
          };
          destinations = settings.registries // own // inImage;
          pushTo =
            registry: login:
            let
              target = if registry == "" then settings.image else "${registry}/${settings.image}";
            in
            ''
              if [ -n "''${${login.username}-}" ] && [ -n "''${${login.password}-}" ]; then
                printf '%s' "''$${login.password}" | buildah login --username "''$${login.username}" --password-stdin ${arguments.quote (host target)}
              else
                echo ${arguments.quote "Not logged in to ${host target}: ${login.username} and ${login.password} are not both set"}
              fi
            ''
            + lib.concatMapStrings (tag: ''
              buildah push ${arguments.quotes [ local "docker://${target}:${tag}" ]}
              echo ${arguments.quote "Pushed ${target}:${tag}"}
            '') settings.tags;
        in
        if settings.push && inImage != { } && !lib.hasInfix "/" settings.image then
          throw "jobs.buildahBuildPush: `${settings.image}` names no registry to push to: set `registry`, or `push = false`"
        else
          {
            # It makes namespaces of its own.
            executor = executors.systemd {
              name = "buildah";
              sandbox = "relaxed";
            };
            env = environment;
            steps = [
              {
                name = "build ${name}";
                deps = [ settings.buildah ];
                bash = ''
                  buildah build --tag ${arguments.quote local} --file ${arguments.quote "${settings.context}/${settings.dockerfile}"} ${
                    arguments.quotes (
                      lib.concatLists (lib.mapAttrsToList (key: value: [ "--build-arg" "${key}=${value}" ]) settings.buildArgs)
                      ++ settings.buildahExtraArgs
                      ++ [ settings.context ]
                    )
                  }
                  echo "digest=$(buildah inspect --type image --format '{{.FromImageDigest}}' ${arguments.quote local})" >> "$NIXACTIONS_OUTPUT"
                '';
              }
            ]
            ++ lib.optional settings.push {
              name = "push ${name}";
              deps = [ settings.buildah ];
              # What it logs in with is gone with the step.
              bash = ''
                directory=$(mktemp --directory)
                trap 'rm --recursive --force "$directory"' EXIT
                export REGISTRY_AUTH_FILE=$directory/auth.json
              ''
              + lib.concatStrings (lib.mapAttrsToList pushTo destinations);
            };
          }
      );
}
