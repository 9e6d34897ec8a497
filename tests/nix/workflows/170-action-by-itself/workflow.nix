# Built without a workflow, it says for itself what is wrong.
{ nixactions, ... }:
{
  plan =
    (nixactions.mkAction {
      name = "compile";
      bash = "make";
      tiemout = 3;
    }).drvPath;
}
