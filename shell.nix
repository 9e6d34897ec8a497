# For `nix-shell`.
(import ./. { }).shell
