# Secrets for later steps. Each is masked in all later output of the job, and then passed on by
# $NIXACTIONS_ENV. The store, which everybody can read, holds only the location of a secret.
{
  lib,
  arguments,
  variables,
  ...
}:
let
  # A loader. `command` prints the data, and `filter` makes an object of it (variables.jq).
  load =
    name:
    {
      known,
      deps,
      stepName,
      bash,
      env ? _: { },
    }:
    arguments.action name
      (
        known
        // {
          variables = {
            type = variables.variables;
            default = null;
          };
        }
      )
      (settings: {
        name = stepName;
        deps = map (arguments.package "actions.${name}") deps ++ variables.deps "actions.${name}";
        env = env settings;
        bash = bash settings;
      });

  # A loader that asks a password manager for an entry.
  loadEntry =
    name:
    {
      known,
      deps,
      stepName,
      source,
      command,
      filter,
      env ? _: { },
    }:
    load name {
      inherit
        known
        deps
        stepName
        env
        ;
      bash =
        settings:
        let
          word = arguments.quote (source settings);
        in
        variables.read {
          source = word;
          command = command settings;
          inherit filter;
          inherit (settings) variables;
        }
        + variables.toSteps word;
    };

  text.type = lib.types.str;
in
{
  # sopsLoad { file; format ? "yaml"; identity ? null; variables ? null; }
  #
  # Loads the top level of a file encrypted by sops. sops finds the key by itself ($SOPS_AGE_KEY,
  # $SOPS_AGE_KEY_FILE, a KMS, …), or gets it from the file `identity`.
  sopsLoad = load "sopsLoad" {
    known = {
      file.type = variables.file;
      format = {
        type = variables.format;
        default = "yaml";
      };
      identity = {
        type = lib.types.nullOr variables.secretFile;
        default = null;
      };
    };
    deps = [ [ "sops" ] ];
    stepName = "load from sops";
    bash = settings: variables.sops settings + variables.toSteps (variables.shell settings.file);
  };

  # ageDecrypt { file; identity; format ? "dotenv"; variables ? null; }
  #
  # Loads a file encrypted by age: `NAME=value` lines, or a JSON object.
  ageDecrypt = load "ageDecrypt" {
    known = {
      file.type = variables.file;
      identity.type = variables.secretFile;
      format = {
        type = lib.types.enum [
          "dotenv"
          "json"
        ];
        default = "dotenv";
      };
    };
    deps = [ [ "age" ] ];
    stepName = "decrypt with age";
    bash =
      settings:
      variables.read {
        source = variables.shell settings.file;
        command = "age --decrypt --identity ${variables.shell settings.identity} ${variables.shell settings.file}";
        filter = settings.format;
        inherit (settings) variables;
      }
      + variables.toSteps (variables.shell settings.file);
  };

  # vaultLoad { path; addr ? null; variables ? null; }
  #
  # Loads a secret of the key-value engine, version 1 or 2, of HashiCorp Vault or OpenBao. `path` is
  # the argument of `vault kv get`. Vault uses $VAULT_ADDR, unless `addr` is given, and
  # $VAULT_TOKEN.
  vaultLoad = loadEntry "vaultLoad" {
    known = {
      path = text;
      addr = {
        type = lib.types.nullOr lib.types.str;
        default = null;
      };
    };
    deps = [ [ "vault" ] ];
    stepName = "load from Vault";
    env = settings: lib.optionalAttrs (settings.addr != null) { VAULT_ADDR = settings.addr; };
    source = settings: "Vault's secret ${settings.path}";
    command = settings: "vault kv get -format=json ${arguments.quote settings.path}";
    # Version 2 of the engine has the data one level deeper, beside its metadata.
    filter = ''json | .data? | if (.data? | type) == "object" and (.metadata? | type) == "object" then .data else . end'';
  };

  # opLoad { vault; item; variables ? null; }
  #
  # Loads the fields of a 1Password entry that have a value, by their labels. Its command uses
  # $OP_SERVICE_ACCOUNT_TOKEN.
  opLoad = loadEntry "opLoad" {
    known = {
      vault = text;
      item = text;
    };
    deps = [
      [
        "_1password-cli"
        "_1password"
      ]
    ];
    stepName = "load from 1Password";
    source = settings: "1Password's ${settings.vault}/${settings.item}";
    command =
      settings:
      "op item get ${arguments.quote settings.item} --vault ${arguments.quote settings.vault} --format json";
    filter = "json | [.fields[]? | select(.label? and .value? != null) | {key: .label, value}] | fields";
  };

  # bwLoad { itemId; variables ? null; }
  #
  # Loads the custom fields of a Bitwarden entry, by their names. Its command uses $BW_SESSION.
  bwLoad = loadEntry "bwLoad" {
    known.itemId = text;
    deps = [ [ "bitwarden-cli" ] ];
    stepName = "load from Bitwarden";
    source = settings: "Bitwarden's ${settings.itemId}";
    command = settings: "bw get item ${arguments.quote settings.itemId} --nointeraction";
    filter = "json | [.fields[]? | select(.name?) | {key: .name, value}] | fields";
  };
}
