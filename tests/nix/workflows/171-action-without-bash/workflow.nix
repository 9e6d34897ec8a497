{ nixactions, ... }:
{
  plan = (nixactions.mkAction { name = "compile"; }).drvPath;
}
