# An overlay for what stands in for other programs in tests/library/: the command lines of Vault,
# 1Password and Bitwarden, which want a server each (stand-ins/), and a jq that leaves what it was
# called with in the workspace, where a secret would be seen.
_: super:
let
  standIn =
    name: program:
    super.runCommand name { meta.mainProgram = program; } ''
      mkdir -p "$out/bin"
      cp ${./stand-ins}/${program} "$out/bin/${program}"
      chmod +x "$out/bin/${program}"
    '';
in
{
  vault = standIn "vault" "vault";
  _1password-cli = standIn "1password-cli" "op";
  bitwarden-cli = standIn "bitwarden-cli" "bw";

  jq = super.runCommand "jq" { meta.mainProgram = "jq"; } ''
    mkdir -p "$out/bin"
    cat > "$out/bin/jq" <<'END'
    #!/bin/bash
    [ -z "''${NIXACTIONS_WORKSPACE-}" ] || printf '%s\n' "$@" >> "$NIXACTIONS_WORKSPACE/called-with"
    exec ${super.jq}/bin/jq "$@"
    END
    chmod +x "$out/bin/jq"
  '';
}
