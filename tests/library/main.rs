//! The library of the language: every function of nix/actions, nix/env-providers and nix/jobs, from
//! Nix code to a run by the real program on a real systemd.
//!
//! sops, age, git, npm and the compilers are the real ones, with real keys and a real package;
//! Vault's, 1Password's and Bitwarden's command lines are stand-ins (tests/nix/stand-ins/), which
//! check how they are called and answer as the real ones are documented to.

mod arguments;
mod jobs;
mod keys;
mod providers;
mod secrets;
mod source;
mod tools;
mod world;
