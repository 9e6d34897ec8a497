{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  inputs.x = { };
  env.A = "\${{ inputs.x }}";
  jobs.build = {
    env.B = "\${{ values }}";
    env.C = "x \${{ contains('a', 'b') }}";
    steps = [
      {
        name = "script";
        bash = "echo \${{ inputs.x }}";
        env.D = "\${{ inputs.x }}";
        post.script = "echo \${{ job.status }}";
      }
    ];
  };
}
