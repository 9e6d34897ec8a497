{ nixactions, ... }:
nixactions.mkWorkflow (
  { os }:
  {
    name = "ci";
  }
)
