# Environment providers: programs for `envFrom`, which print `export NAME='value'` lines before a
# job's first step. What they print is a secret (docs/secrets.md). docs/actions.md tells them to
# users.
api: import ./checks.nix api // import ./files.nix api // import ./values.nix api
