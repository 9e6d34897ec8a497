# `<nixpkgs>` of machines in which tests/library/ runs: that of host.nix, with what stands in for
# other programs, and the tools of the library that need no more than themselves; the host's sops is
# in /srv/sops.
arguments:
let
  pkgs = import ./host.nix arguments;
  copy =
    name: program:
    pkgs.runCommand name { meta.mainProgram = name; } ''
      mkdir -p "$out/bin"
      cp ${program} "$out/bin/${name}"
    '';
in
pkgs
// {
  age = copy "age" "/srv/host/usr/bin/age";
  sops = copy "sops" "/srv/sops/sops";
}
// import ./stand-ins.nix { } pkgs
