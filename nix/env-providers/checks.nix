# Providers that set nothing, and fail if something is missing.
{
  arguments,
  writeScript,
  ...
}:
{
  # required [ "API_KEY" … ]
  #
  # Fails before the first step, with the names of all variables that are missing or empty. Earlier
  # providers and `env` may set them.
  required =
    names:
    writeScript {
      name = "env-required";
      text = arguments.requireVariables (arguments.variableNames "envProviders.required" names);
    };
}
