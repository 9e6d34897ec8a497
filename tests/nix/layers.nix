# A workflow of layers of ten jobs. Each job needs all ten of the layer before it.
layers:
{ nixactions, lib, ... }:
let
  name = layer: number: "job-${toString layer}-${toString number}";
  numbers = lib.range 1 10;
  job =
    layer: number:
    lib.nameValuePair (name layer number) {
      needs = lib.optionals (layer > 1) (map (name (layer - 1)) numbers);
      steps = [
        {
          name = "work";
          bash = "echo ${toString layer} ${toString number}";
        }
      ];
    };
in
nixactions.mkWorkflow {
  name = "layers";
  jobs = lib.listToAttrs (lib.concatMap (layer: map (job layer) numbers) (lib.range 1 layers));
}
