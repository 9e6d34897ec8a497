# The logins to registries, for a service that pulls images. No unit and no other service has them.
{ lib, cfg }:
pulls:
let
  inherit (import ./text.nix { inherit lib; }) credential;
  file = if pulls then cfg.registryAuthFile else null;
in
{
  environment = lib.mkIf (file != null) { REGISTRY_AUTH_FILE = "%d/registries"; };
  serviceConfig = lib.mkIf (file != null) { LoadCredential = credential "registries" file; };
}
