# Providers that give nothing, and fail where something is missing.
{
  arguments,
  writeScript,
  ...
}:
{
  # required [ "API_KEY" … ]
  #
  # Fails before the first step, with the names of all that are missing or empty; earlier providers
  # and `env` may have set them.
  required =
    names:
    writeScript {
      name = "env-required";
      text = arguments.requireVariables (arguments.variableNames "envProviders.required" names);
    };
}
