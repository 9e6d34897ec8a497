{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.test.steps = [
    {
      name = "say";
      bash = ''echo "$WORKFLOW_ID ''${WORKFLOW_NAME} $JOB_DIR"'';
    }
    {
      name = "have its own";
      bash = ''
        retry_command() { "$@" || "$@"; }
        JOB_DIR=$(mktemp --directory)
        retry_command ls "$JOB_DIR"
      '';
    }
    {
      name = "have its own by another form";
      bash = ''
        # retry_command is a function of this script, as NIXACTIONS_ARTIFACTS_DIR is a variable.
        function retry_command {
          "$@"
        }
        retry_command ls
      '';
    }
    {
      name = "call something else";
      bash = ''
        # _log_job; it said
        echo "use retry_command, or run_with_timeout"
        ./retry_command.sh && bin/run_with_timeout 3
        grep _log_job file
      '';
    }
    {
      name = "have it from a file";
      bash = ''
        source ./helpers.sh
        retry_command ls
      '';
    }
    {
      name = "ask";
      bash = "true";
      condition = "test -e \"$JOB_DIR/file\"";
    }
    {
      name = "say nothing";
      bash = ''echo "MY_WORKFLOW_ID=$MY_WORKFLOW_ID WORKFLOW_ID=$WORKFLOW_IDS"'';
    }
  ];
}
