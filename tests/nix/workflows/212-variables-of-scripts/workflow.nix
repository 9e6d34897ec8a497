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
      name = "say nothing";
      bash = ''echo "MY_WORKFLOW_ID=$MY_WORKFLOW_ID WORKFLOW_ID=$WORKFLOW_IDS"'';
    }
  ];
}
