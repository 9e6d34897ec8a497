# Warns about likely secrets in places that everybody can read.
{ lib, ... }:
{
  config,
  names,
  at,
  atStep,
  stepsOf,
  ...
}:
let
  # Names and forms of likely secrets.
  isNamedSo =
    name:
    builtins.match ".*(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)" (
      lib.toUpper name
    ) != null;
  begins = [
    "ghp_"
    "gho_"
    "ghu_"
    "ghs_"
    "ghr_"
    "github_pat_"
    "glpat-"
    "xoxb-"
    "xoxp-"
    "AKIA"
    "-----BEGIN "
  ];
  isSecret =
    name: value:
    isNamedSo name
    && !lib.elem value [
      ""
      "true"
      "false"
    ]
    || lib.any (begin: lib.hasPrefix begin value) begins;
  ofEnv =
    at: env:
    map (
      name:
      "${at}env: `${name}` looks like a secret, and everybody who can read the store can read it: take it from an `envFrom` provider"
    ) (lib.filter (name: isSecret name env.${name}) (lib.attrNames env));
in
ofEnv "" config.env
++ lib.concatMap (
  name:
  ofEnv "${at name}, " config.jobs.${name}.env
  ++ lib.concatLists (
    lib.imap1 (
      number: step:
      ofEnv "${atStep name number step}, " step.env
      ++ lib.optionals (step.post != null) (ofEnv "${atStep name number step}, post, " step.post.env)
    ) (stepsOf name)
  )
) names
