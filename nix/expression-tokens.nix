# Splits an expression of GitHub's language into tokens (expression.nix reads them): texts in single
# quotes, numbers, names, literals and signs.
{ lib }:
let
  inherit (builtins) elemAt length;

  # The characters that may stand between words and signs.
  blanks = [
    " "
    "\t"
    "\n"
    "\r"
    (builtins.fromJSON ''"\f"'')
  ];
  blank = lib.concatStrings blanks;
  isAscii = text: builtins.match "[\t\n\r -~]*" text != null;

  # Words and signs. Texts in single quotes are every second part of what stands between these; an
  # empty part between two of them is a quote in a text.
  tokens =
    text:
    let
      parts = lib.splitString "'" text;
      count = length parts;
      last = count - 1;
      ofPart =
        state: index:
        let
          part = elemAt parts index;
          isText = lib.mod index 2 == 1;
          joins = isText && index > 1 && elemAt parts (index - 1) == "";
        in
        if state ? error then
          state
        else if joins then
          {
            tokens = lib.init state.tokens ++ [ { text = "${(lib.last state.tokens).text}'${part}"; } ];
          }
        else if isText then
          { tokens = state.tokens ++ [ { text = part; } ]; }
        else
          signs state part;
    in
    if lib.mod count 2 == 0 then
      { error = "a text whose `'` is not closed"; }
    else
      lib.foldl' ofPart { tokens = [ ]; } (lib.range 0 last);

  # The words and signs of a part without texts, after those before it.
  signs =
    before: part:
    let
      pieces = builtins.split "(&&|[|][|]|==|!=|>=|<=|[][()!,.*<>=&|]|[0-9+-][^][(),!<>=&|${blank}]*|[^][(),.!<>=&|${blank}]+)" part;
      # Between two pieces stand blanks, or nothing.
      add =
        state: index:
        let
          word = lib.head (elemAt pieces index);
          follows = index > 1 && elemAt pieces (index - 1) == "";
          previous = if state.tokens == [ ] then { } else lib.last state.tokens;
          afterValue =
            previous ? name
            || lib.elem (previous.sign or null) [
              "]"
              ")"
              "*"
            ];
          token =
            if lib.elem word singles then
              { sign = word; }
            else if builtins.match "[0-9+-].*" word != null then
              { number = word; }
            else if builtins.match "[A-Za-z_][A-Za-z0-9_-]*" word == null then
              {
                error =
                  {
                    "=" = "`=`: an expression compares by `==`";
                    "&" = "`&`: an expression has `&&`";
                    "|" = "`|`: an expression has `||`";
                  }
                  .${word} or (
                    if lib.hasPrefix "\"" word then
                      "`\"`: texts stand in single quotes"
                    else if lib.hasPrefix "$" word then
                      "`$`: variables are `env.NAME`"
                    else
                      "a character that an expression does not have"
                  );
              }
            else if previous.sign or null == "." then
              { name = word; }
            else if
              lib.elem word [
                "true"
                "false"
                "null"
                "NaN"
                "Infinity"
              ]
            then
              { literal = word; }
            else
              { name = word; };
        in
        if state ? error then
          state
        # A number that begins with a dot.
        else if follows && previous ? open && (word == "." || !lib.elem word singles) then
          {
            tokens = lib.init state.tokens ++ [
              {
                number = previous.number + word;
                open = true;
              }
            ];
          }
        else if word == "." && !afterValue then
          {
            tokens = state.tokens ++ [
              {
                number = ".";
                open = true;
              }
            ];
          }
        else if token ? error then
          token
        else
          { tokens = state.tokens ++ [ token ]; };
      found = lib.foldl' add before (
        lib.filter (index: builtins.isList (elemAt pieces index)) (lib.range 0 (length pieces - 1))
      );
    in
    found;
  singles = [
    "&&"
    "||"
    "=="
    "!="
    ">="
    "<="
    "("
    ")"
    "["
    "]"
    ","
    "."
    "*"
    "!"
    "<"
    ">"
  ];
  isNumber =
    word:
    isAscii word
    && (
      word == "-Infinity"
      ||
        builtins.match "[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?|0x0*[0-9a-fA-F]{1,8}|0o0*([0-7]{1,10}|[1-3][0-7]{10})" word
        != null
    );

  # The error for a word that cannot be read as a number.
  noNumber =
    word:
    if builtins.match "[0-9].*|.[0-9I].*" word != null then
      "a number that cannot be read"
    else if builtins.match "-[a-zA-Z].*" word != null then
      "`-`: an option stands in bash alone"
    else if builtins.match "[+-].*" word != null then
      "`+` or `-`: an expression does not compute"
    else
      "`.` without a name or number beside it";
in
{
  inherit isNumber noNumber tokens;
}
