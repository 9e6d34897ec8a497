# Actions: steps that many workflows need. docs/actions.md documents them. Each takes its own
# arguments and the options of a step (`workdir`, `condition`, `timeout`, …). `api` has the types
# and functions that `nix/default.nix` makes for all files of the language.
api:
import ./checkout.nix api
// import ./environment.nix api
// import ./npm.nix api
// import ./secrets.nix api
// import ./setup.nix api
