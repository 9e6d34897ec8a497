# Required variables.
{
  arguments,
  mkAction,
  ...
}:
{
  # requireEnv [ "API_KEY" … ]
  #
  # Fails with the names of all variables that are missing or empty. Prints no values.
  requireEnv =
    names:
    mkAction {
      name = "require-env";
      bash = arguments.requireVariables (arguments.variableNames "actions.requireEnv" names);
    };
}
