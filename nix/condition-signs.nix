# Signs in bash that its author meant an expression. The engine looks for the same
# (crates/plan/src/rules/meant.rs); a test holds that both take the same texts.
#
# Only a place where a command begins is looked at, outside of quotes, comments and `[[ ]]`: there a
# context, a literal or a function of expressions is a command that is not there.
{
  lib,
  contexts,
  functions,
  statusFunctions,
}:
let
  inherit (builtins) head match split;
  bytesMax = 2000;

  blank = "[[:space:]]";
  hidden = lib.concatStringsSep "|" [
    "'[^']*'"
    "\"([^\"\\\\]|[\\\\](.|${blank}))*\""
    "[\\\\](.|${blank})"
    "[[][[] ([^]]|[]][^]])*[]][]]"
    "${blank}#[^\n]*"
  ];
  # A text with `'` for all that is quoted, without comments and tests in `[[ ]]`, and with plain
  # spaces for other blanks.
  plain =
    text:
    let
      shown =
        part:
        if builtins.isString part then
          lib.concatMapStrings (piece: if builtins.isString piece then piece else " ") (split blank part)
        else
          let
            first = lib.substring 0 1 (head part);
          in
          if first == "'" || first == "\"" then
            "'"
          else if first == "\\" || first == "[" then
            "_"
          else
            " ";
    in
    lib.concatMapStrings shown (split "(${hidden})" text);

  # A command without the signs that stand before it in bash or in an expression.
  start =
    piece:
    let
      sign = lib.findFirst (sign: lib.hasPrefix sign piece) null [
        "{{"
        "\${ "
        "not "
        "("
        "!"
        " "
      ];
    in
    if sign == null then piece else start (lib.removePrefix sign piece);

  signOf =
    command:
    let
      word = head (match "([a-z]*).*" command);
      rest = lib.removePrefix word command;
      is = pattern: match pattern rest != null;
    in
    if lib.elem word contexts then
      if lib.hasPrefix "." rest || lib.hasPrefix "[']" rest && !is "[[]'[]](=|=[^=].*|[+]=.*)" then
        { context = word; }
      else
        null
    else if lib.elem word (map lib.toLower functions) && is " *[(] *([^) ].*)?" then
      { expression = true; }
    else if lib.elem word statusFunctions && is " *([)].*)?" then
      { status = word; }
    else if
      lib.elem word [
        "true"
        "false"
        "null"
      ]
      && is " *[=!]=.*"
      || word == "" && is "('|[0-9.]+) *[=!]=.*|[0-9.]+ +[<>].*"
    then
      { expression = true; }
    else
      null;
in
# Returns the first sign in a text, or null.
text:
if lib.stringLength text > bytesMax then
  null
else
  lib.findFirst (sign: sign != null) null (
    map (piece: signOf (start piece)) (
      lib.filter builtins.isString (split "&&|[|;]" (lib.toLower (plain text)))
    )
  )
