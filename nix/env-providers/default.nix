# Environment providers: programs for `envFrom`, which print `export NAME='value'` lines before a
# job's first step. Their output is secret (docs/secrets.md). docs/actions.md documents them.
api: import ./checks.nix api // import ./files.nix api // import ./values.nix api
