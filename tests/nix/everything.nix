# A workflow that uses what the language has, as far as a run can tell.
{ nixactions, pkgs, ... }:
let
  say = nixactions.mkAction {
    name = "say";
    bash = ''
      echo "arguments=$*"
      echo "git=$(command -v git)"
      echo "LEVEL=$LEVEL"
      echo "FLAG=$FLAG"
      echo "COUNT=$COUNT"
      echo "RELEASE=$INPUT_RELEASE"
      echo "GIVEN=$GIVEN"
      echo "there=$(pwd)"
    '';
    deps = [ pkgs.git ];
    args = [ "a b" ];
    env = {
      LEVEL = "action";
      COUNT = 3;
    };
    workdir = "sub";
  };
  hook = name: ''
    echo ${name} >> "$NIXACTIONS_EXECUTOR_DIRECTORY/log"
  '';
in
nixactions.mkWorkflow {
  name = "everything";
  env = {
    LEVEL = "workflow";
    FLAG = true;
  };
  envFrom = [
    (pkgs.writeTextFile {
      name = "provider";
      executable = true;
      destination = "/bin/provider";
      meta.mainProgram = "provider";
      text = ''
        #!${pkgs.runtimeShell}
        echo 'export GIVEN="provided"'
      '';
    })
  ];
  inputs.release.default = "dev";
  jobs = {
    build = {
      outputs.dist = "dist/";
      steps = [
        { bash = "mkdir dist sub && echo built > dist/file"; }
        say
        {
          package = say;
          name = "say more";
          condition = "failure()";
        }
        {
          name = "unset variables are errors";
          bash = ''echo "$NO_SUCH_VARIABLE"'';
          continueOnError = true;
        }
        {
          name = "pipes fail with any of their commands";
          bash = "false | true";
          continueOnError = true;
        }
        {
          name = "second time";
          bash = "test \"$NIXACTIONS_ATTEMPT\" = 2";
          retry = {
            max_attempts = 2;
            min_time = 0.1;
          };
        }
        {
          name = "too long";
          bash = "sleep infinity";
          timeout = "0.2s";
          continueOnError = true;
        }
      ];
    };
    hooked = {
      needs = [ "build" ];
      inputs = [ "dist" ];
      outputs.other = "other";
      executor = nixactions.mkExecutor {
        name = "hooks";
        setupWorkspace = hook "setupWorkspace";
        setupJob = hook "setupJob";
        restoreArtifact = hook "restoreArtifact-$NIXACTIONS_ARTIFACT";
        executeJob = hook "executeJob";
        saveArtifact = hook "saveArtifact-$NIXACTIONS_ARTIFACT";
        cleanupJob = ''
          echo "log=$(tr '\n' ' ' < "$NIXACTIONS_EXECUTOR_DIRECTORY/log")"
        '';
        cleanupWorkspace = hook "cleanupWorkspace";
        deps = [ pkgs.coreutils ];
      };
      steps = [ { bash = "true"; } ];
    };
    all = {
      needs = [ "test" ];
      inputs = [
        {
          name = "dist";
          path = "from";
        }
      ];
      steps = [ { bash = ''echo "file=$(cat from/dist/file)"''; } ];
    };
  }
  // nixactions.mkMatrixJobs {
    name = "test";
    matrix.os = [
      "linux"
      "bsd"
    ];
    job =
      { os }:
      {
        needs = [ "build" ];
        executor = nixactions.executors.systemd {
          copyRepo = false;
          properties.PrivateNetwork = true;
        };
        steps = [ { bash = ''echo "os=${os} $MATRIX_OS"''; } ];
      };
  };
}
