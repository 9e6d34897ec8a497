{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = nixactions.jobs.buildahBuildPush {
    executor = nixactions.executors.local;
    jobPrefix = "app-";
    registry = "registry.example/me";
    images = [
      { name = "api"; }
      { name = "worker"; }
    ];
    runTests = true;
    testCommand = "true";
    saveArtifacts = true;
  };
}
