# Hints for a text of bash that is probably meant as an expression. The engine gives the same
# (crates/plan/src/rules/condition.rs and meant.rs); a test holds that both take the same texts.
#
# Bash would take what is meant as an expression for a missing command or for a mistake, and the
# step would be skipped without a word.
{
  lib,
  words,
  # Finds a name in a set, in any case.
  find,
  # Reads an expression.
  read,
  contexts,
  functions,
  statusFunctions,
}:
let
  inherit (builtins)
    elemAt
    head
    isString
    match
    split
    stringLength
    ;

  quotesMax = 2000;
  blank = "[[:space:]]";
  # A text with `'` in place of all that is quoted, without comments, and with plain spaces for
  # other blanks. A longer text than the regular expression bears keeps its quotes.
  withoutQuotes =
    text:
    let
      spaced = part: lib.concatStringsSep " " (lib.filter isString (split blank part));
      shown =
        part:
        if isString part then
          spaced part
        else if lib.hasInfix (lib.substring 0 1 (head part)) "'\"" then
          "'"
        else
          "  ";
    in
    if stringLength text > quotesMax then
      spaced text
    else
      lib.concatMapStrings shown (split "('[^']*'|\"[^\"]*\"|(^|${blank})#[^\n]*)" text);

  # The status function that is probably meant by a name, or null.
  misspelt =
    written:
    let
      name = lib.toLower written;
      near = lib.filter (words.differAtMost2 name) statusFunctions;
      distance = lib.strings.levenshtein name;
    in
    if near == [ ] then null else lib.head (lib.sort (a: b: distance a < distance b) near);

  # Returns a hint for a text that is an expression by its form and its names, or null.
  expressionHint =
    text:
    let
      result = read text;
      sign = if result ? error then null else result.sign;
    in
    if sign == null then
      null
    else if sign ? context then
      wrapped text sign.context
    else if misspelt sign.call != null then
      "did you mean `${misspelt sign.call}()`?"
    else if find functions sign.call != null then
      wrapped text null
    else
      "unknown function `${sign.call}()`";

  # The hint that a text, which begins with a context or a call, is to be wrapped.
  wrapped =
    text: context:
    let
      here =
        {
          github = "nixactions";
          secrets = "env";
          vars = "env";
          strategy = "matrix";
        }
        .${lib.toLower (toString context)} or null;
    in
    "an expression is wrapped: write ${
      if stringLength text <= 80 then "`\${{ ${text} }}`" else "`\${{ … }}` around it"
    }"
    + lib.optionalString (here != null) ", with `${here}` for `${context}`"
    + program context;
  program =
    context:
    lib.optionalString (context != null) "; a program of this name is called by `command ${context}…`";

  # Returns a hint for bash that is meant to be an expression and is not quite one, or null.
  meantHint =
    text:
    let
      sign = signOf text;
      single = lib.replaceStrings [ "\"" ] [ "'" ] text;
      hasBoth = lib.hasInfix "\"" text && lib.hasInfix "'" text;
      result = read (if hasBoth then text else single);
      context = sign.context or null;
    in
    if sign == null then
      null
    else if sign ? status then
      "did you mean `${sign.status}()`?"
    else if result ? error then
      "an expression is wrapped in `\${{ }}`, and this is none yet: found ${result.error}${program context}"
    else
      wrapped single context;

  # Signs in bash that its author meant an expression. Only a place where a command begins is
  # looked at: there a context, a literal or a function of expressions is a command that is not
  # there. A text with a sign that no expression has is meant as bash, and is not looked at.
  ofBash = [
    ";"
    "$"
    "\\"
    "@"
    "{"
    "}"
    "<<"
    "<("
    "(("
    "[["
  ];
  # A text without the braces around it that are nearly those of an expression.
  withoutBraces =
    text:
    let
      inner = match " *([{][{](.*)[}][}]|[$][{] (.*)[}]) *" text;
    in
    if inner == null then text else toString (lib.remove null (lib.tail inner));
  # Returns the first sign in a text, or null.
  signOf =
    text:
    let
      plain = withoutBraces (lib.toLower (withoutQuotes text));
      pieces = lib.filter isString (split "&&|[|]" plain);
    in
    # Quotes in an inner command would end the quotes around it.
    if
      lib.hasInfix "$(" text || lib.hasInfix "`" text || lib.any (sign: lib.hasInfix sign plain) ofBash
    then
      null
    else
      lib.findFirst (sign: sign != null) null (map (piece: signOfCommand (start piece)) pieces);

  # A command without the signs that stand before it in bash or in an expression.
  start =
    piece:
    let
      sign = lib.findFirst (sign: lib.hasPrefix sign piece) null [
        "not "
        "("
        "!"
        " "
      ];
    in
    if sign == null then piece else start (lib.removePrefix sign piece);

  signOfCommand =
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
    else if find functions word != null && is " *[(] *([^) ].*)?" then
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

  # Returns a hint for a text that calls a misspelt status function where bash has no call: at an
  # end of the text, beside an operator, or in parentheses. Null where there is none.
  callHint =
    text:
    let
      # An operator stands beside two calls, so each gets one of its own.
      doubled = lib.replaceStrings [ "&" "|" ] [ "&&" "||" ] (withoutQuotes text);
      calls = split "(^|[!(&|]) *([A-Za-z_]+) *[(] *[)] *($|[&|)])" doubled;
      meant = map (call: misspelt (elemAt call 1)) (lib.filter builtins.isList calls);
      function = lib.findFirst (function: function != null) null meant;
    in
    if function == null then null else "did you mean `${function}()`?";
in
{
  inherit expressionHint withoutQuotes;

  # Returns a hint for a text of bash that is probably meant as an expression, or null.
  bashHint =
    text:
    let
      has = lib.any (sign: lib.hasInfix sign text);
    in
    lib.findFirst (hint: hint != null) null (
      # To read a long script takes time.
      lib.optional (has [
        "("
        "."
        "["
      ]) (expressionHint text)
      ++ lib.optional (has [ "(" ]) (callHint text)
      ++ [ (meantHint text) ]
    );
}
