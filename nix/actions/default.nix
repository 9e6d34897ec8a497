# Actions: steps that others would write as well. docs/actions.md tells them to users. Each takes,
# beside its own arguments, the options of a step (`workdir`, `condition`, `timeout`, …).
api:
import ./checkout.nix api
// import ./environment.nix api
// import ./npm.nix api
// import ./secrets.nix api
// import ./setup.nix api
