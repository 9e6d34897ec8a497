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

  # In NixActions' bash compiler, this function returns several jobs, and one of them builds all
  # images.
  pipeline = [
    "artifactName"
    "envProviders"
    "images"
    "jobPrefix"
    "pushOnSuccess"
    "runTests"
    "saveArtifacts"
    "testCommand"
  ];
  refusePipeline =
    build: settings:
    let
      of = names: lib.filter (name: builtins.isAttrs settings && settings ? ${name}) names;
      nameOf = image: if builtins.isAttrs image then image.name or "app" else "app";
      images = if builtins.isList (settings.images or null) then settings.images else [ { } ];
      kept = lib.concatMapStrings (name: "${name} = …; ") (of [
        "executor"
        "registry"
        "registryUsername"
        "registryPassword"
        "buildArgs"
      ]);
      job =
        image:
        "${settings.jobPrefix or ""}${nameOf image} = jobs.buildahBuildPush { image = \"${nameOf image}\"; ${kept}}; ";
      instead = {
        artifactName = "name what later jobs take in by the job's `outputs`";
        envProviders = "write `envFrom`";
        pushOnSuccess = "write `push`";
        runTests = "a test is a job that needs this one";
        saveArtifacts = "name what later jobs take in by the job's `outputs`";
        testCommand = "a test is a job that needs this one";
      };
      others = map (name: "for `${name}`, ${instead.${name}}") (of (lib.attrNames instead));
    in
    if of pipeline == [ ] then
      build settings
    else
      throw "jobs.buildahBuildPush: `${lib.head (of pipeline)}` is of NixActions' bash compiler: here this is one job, which builds one image and pushes it: write `jobs = { ${lib.concatMapStrings job images}… };`${
        lib.concatMapStrings (other: "; ${other}") others
      }";
in
{
  # buildahBuildPush { image; name ? image; tags ? [ "latest" ]; context ? "."; dockerfile ?
  # "Dockerfile"; buildArgs ? { }; push ? true;
  # registry ? null; registryUsername ? "REGISTRY_USERNAME"; registryPassword ? "REGISTRY_PASSWORD";
  # registries ? { };
  #   buildahExtraArgs ? [ ]; buildah ? pkgs.buildah; }
  #
  # A job that builds an image, and pushes it with all its tags to `registry` and to each of
  # `registries`: `{ "ghcr.io/me" = { username = "GHCR_USER"; password = "GHCR_TOKEN"; }; }` names
  # the variables that hold the login. Without these variables, it does not log in. Sets the job's
  # output `digest`: the image's digest in the registry, or in buildah's own storage if it is not
  # pushed.
  buildahBuildPush = refusePipeline (
    arguments.job "buildahBuildPush"
      {
        image = text;
        name = optional null (lib.types.nullOr lib.types.str);
        tags = optional [ "latest" ] (
          lib.types.nonEmptyListOf (lib.types.strMatching "[A-Za-z0-9_][A-Za-z0-9_.-]*")
        );
        context = optional "." types.workspacePath;
        dockerfile = optional "Dockerfile" types.workspacePath;
        buildArgs = optional { } types.variables;
        push = optional true lib.types.bool;
        registry = optional null (lib.types.nullOr lib.types.str);
        registryUsername = optional "REGISTRY_USERNAME" types.variableName;
        registryPassword = optional "REGISTRY_PASSWORD" types.variableName;
        registries = optional { } (
          lib.types.attrsOf (
            types.record "login" {
              options = lib.genAttrs [ "username" "password" ] (_: lib.mkOption { type = types.variableName; });
            }
          )
        );
        buildahExtraArgs = optional [ ] (types.listOf types.argument);
        buildah = optional (arguments.package "jobs.buildahBuildPush" [ "buildah" ]) types.package;
      }
      (
        settings:
        let
          inherit (arguments) quote quotes;
          local = "${settings.image}:${lib.head settings.tags}";
          name = if settings.name == null then settings.image else settings.name;
          context = "./${settings.context}";
          # The image's names in the registries, each with the variables of the login.
          login = {
            username = settings.registryUsername;
            password = settings.registryPassword;
          };
          own =
            if settings.registry != null then
              { "${settings.registry}/${settings.image}" = login; }
            else if settings.registries != { } then
              { }
            else if lib.hasInfix "/" settings.image then
              { ${settings.image} = login; }
            else
              throw "jobs.buildahBuildPush: `${settings.image}` names no registry to push to: set `registry`, or `push = false`";
          targets =
            lib.mapAttrs' (registry: lib.nameValuePair "${registry}/${settings.image}") settings.registries
            // own;
          buildArg = key: value: [
            "--build-arg"
            "${key}=${value}"
          ];
          pushTo =
            target: login:
            let
              host = lib.head (lib.splitString "/" target);
            in
            ''
              if [ -n "''${${login.username}-}" ] && [ -n "''${${login.password}-}" ]; then
                printf '%s' "''$${login.password}" | buildah login --username "''$${login.username}" --password-stdin ${quote host}
              else
                echo ${quote "No login to ${host}: ${login.username} and ${login.password} are not both set"}
              fi
            ''
            + lib.concatMapStrings (tag: ''
              buildah push --quiet --digestfile "$directory/digest" ${quote local} ${quote "docker://${target}:${tag}"}
              echo ${quote "Pushed ${target}:${tag}"} "($(cat "$directory/digest"))"
            '') settings.tags;
        in
        {
          # buildah makes namespaces of its own.
          executor = executors.systemd {
            name = "buildah";
            sandbox = "relaxed";
          };
          # The layers of an image are plain directories, and all files belong to the only user of
          # the job.
          env = {
            BUILDAH_ISOLATION = "chroot";
            STORAGE_DRIVER = "vfs";
            STORAGE_OPTS = "vfs.ignore_chown_errors=true";
          };
          steps = [
            {
              name = "build ${name}";
              deps = [ settings.buildah ];
              bash = ''
                buildah build ${
                  quotes (
                    [
                      "--tag"
                      local
                      "--file"
                      "${context}/${settings.dockerfile}"
                    ]
                    ++ lib.concatLists (lib.mapAttrsToList buildArg settings.buildArgs)
                    ++ settings.buildahExtraArgs
                    ++ [ context ]
                  )
                }
                digest=$(buildah inspect --type image --format '{{.FromImageDigest}}' ${quote local})
                echo "digest=$digest" >> "$NIXACTIONS_OUTPUT"
              '';
            }
          ]
          ++ lib.optional settings.push {
            name = "push ${name}";
            deps = [ settings.buildah ];
            # The login is removed with the step.
            bash = ''
              set +o xtrace
              directory=$(mktemp --directory)
              trap 'rm --recursive --force "$directory"' EXIT
              export REGISTRY_AUTH_FILE=$directory/auth.json
            ''
            + lib.concatStrings (lib.mapAttrsToList pushTo targets)
            + ''
              echo "digest=$(cat "$directory/digest")" >> "$NIXACTIONS_OUTPUT"
            '';
          };
        }
      )
  );
}
