{ nixactions, ... }:
nixactions.mkWorkflow (
  { os }:
  {
    name = "ci";
    env.OS = os;
  }
)
