# GitHub's expressions: their form, and the names, functions and types in them that cannot be right.
# The engine parses and checks the same (crates/expression); a test holds that both take the same
# texts.
#
# An expression is read and checked at once. What is known of a value is its shape: `any`, `simple`
# (a text, number or boolean), `{ names; }` (an object of these names) or `{ each; }` (an object of
# any names).
{ lib }:
let
  words = import ./words.nix { inherit lib; };
  inherit (builtins) elemAt length stringLength;

  depthMax = 50;
  bytesMax = 21000;
  tokensMax = 4000;

  inherit (import ./expression-tokens.nix { inherit lib; }) isNumber noNumber tokens;

  arity = {
    contains = [
      2
      2
    ];
    startsWith = [
      2
      2
    ];
    endsWith = [
      2
      2
    ];
    format = [
      1
      null
    ];
    join = [
      1
      2
    ];
    toJSON = [
      1
      1
    ];
    fromJSON = [
      1
      1
    ];
    hashFiles = [
      1
      null
    ];
    success = [
      0
      0
    ];
    failure = [
      0
      0
    ];
    always = [
      0
      0
    ];
    cancelled = [
      0
      0
    ];
  };
  statusFunctions = [
    "success"
    "failure"
    "always"
    "cancelled"
  ];

  # The contexts that are here or on GitHub.
  knownContexts = [
    "needs"
    "steps"
    "env"
    "inputs"
    "matrix"
    "job"
    "nixactions"
    "github"
    "runner"
    "secrets"
    "vars"
    "strategy"
  ];
  either = first: second: if first != null then first else second;

  hints = import ./condition-hints.nix {
    inherit
      lib
      words
      find
      statusFunctions
      ;
    functions = arity;
    contexts = knownContexts;
    # Any context may have any value.
    read = read {
      contexts = { };
      has = _: true;
    };
  };

  # Returns the name of a set that is meant in any case, or null.
  find =
    set: name:
    if set ? ${name} then
      name
    else
      lib.findFirst (known: lib.toLower known == lib.toLower name) null (lib.attrNames set);

  binds = {
    "||" = 1;
    "&&" = 2;
    "==" = 3;
    "!=" = 3;
    ">" = 4;
    ">=" = 4;
    "<" = 4;
    "<=" = 4;
  };

  # Reads and checks an expression. `has` tells the functions of its place, `contexts` are the
  # shapes of its contexts. Returns `{ error; }`, or its `faults` and whether it calls a status
  # function.
  read =
    {
      contexts,
      has,
    }:
    expression:
    let
      lexed = tokens expression;
      list = lexed.tokens;
      count = length list;
      badNumber = lib.findFirst (token: token ? number && !isNumber token.number) null list;
      peek = at: if at < count then elemAt list at else { };
      isSign = sign: at: (peek at).sign or null == sign;
      unexpected = expected: at: {
        error = "${
          let
            token = peek at;
          in
          if token == { } then
            "its end"
          else if token ? number then
            "a number"
          else if token ? text then
            "a text"
          else
            "`${token.sign or (token.name or token.literal)}`"
        } where ${expected} may stand";
      };
      andThen = parsed: next: if parsed ? error then parsed else next parsed;
      deeper =
        depth: parse: at:
        if depth == depthMax then
          { error = "more than ${toString depthMax} levels"; }
        else
          parse (depth + 1) at;

      # A value that has been read: the place of the next token, the value's shape, its spelling,
      # its text and its faults.
      value = shape: next: {
        inherit shape next;
        written = "…";
        text = null;
        isLiteral = false;
        faults = [ ];
        status = false;
        sign = null;
      };

      binary =
        least: depth: at:
        andThen (unary depth at) (more least depth);
      more =
        least: depth: left:
        let
          operator = (peek left.next).sign or "";
          tight = binds.${operator} or 0;
        in
        if tight == 0 || tight < least then
          left
        else
          andThen (deeper depth (binary (tight + 1)) (left.next + 1)) (
            right: more least depth (operands operator left right)
          );
      operands =
        operator: left: right:
        let
          joined = lib.elem operator [
            "&&"
            "||"
          ];
          bad = lib.filter (side: builtins.isAttrs side.shape) [
            left
            right
          ];
          shape = if !joined || left.shape == "simple" && right.shape == "simple" then "simple" else "any";
        in
        value shape right.next
        // {
          faults =
            left.faults
            ++ right.faults
            ++ lib.optionals (!joined) (
              map (
                _: "an object where `${operator}` needs a text, number or boolean: compare one of its values"
              ) bad
            );
          status = left.status || right.status;
          sign = either left.sign right.sign;
        };

      unary =
        depth: at:
        if isSign "!" at then
          andThen (deeper depth unary (at + 1)) (
            of: value "simple" of.next // { inherit (of) faults status sign; }
          )
        else
          andThen (primary depth at) (first: if first.isLiteral then first else postfix depth first);

      postfix =
        depth: of:
        let
          at = of.next;
          sign = either of.sign (if of.isContext or false then { context = of.written; } else null);
          lookedUp =
            name: next:
            let
              looked = lookUp of.shape of.written name;
            in
            value looked.shape next
            // {
              written = "${of.written}.${name}";
              faults = of.faults ++ looked.faults;
              inherit (of) status;
              inherit sign;
            };
          star =
            next:
            value "any" next
            // {
              inherit (of) faults status written;
              inherit sign;
            };
        in
        if isSign "." at then
          if isSign "*" (at + 1) then
            postfix depth (star (at + 2))
          else if peek (at + 1) ? name then
            postfix depth (lookedUp (peek (at + 1)).name (at + 2))
          else
            unexpected "a name or `*`" (at + 1)
        else if isSign "[" at then
          let
            close = inner: if isSign "]" inner.next then inner else unexpected "`]`" inner.next;
          in
          if isSign "*" (at + 1) then
            if isSign "]" (at + 2) then postfix depth (star (at + 3)) else unexpected "`]`" (at + 2)
          else
            andThen (andThen (deeper depth (binary 0) (at + 1)) close) (
              index:
              let
                looked = if index.text != null then lookedUp index.text (index.next + 1) else star (index.next + 1);
              in
              postfix depth (
                looked
                // {
                  faults = index.faults ++ looked.faults;
                  status = of.status || index.status;
                  sign = either sign index.sign;
                }
              )
            )
        else
          of;

      primary =
        depth: at:
        let
          token = peek at;
          literal = value "simple" (at + 1) // {
            isLiteral = true;
          };
        in
        if token ? number then
          if isNumber token.number then literal else { error = noNumber token.number; }
        else if token ? text then
          literal // { inherit (token) text; }
        else if token ? literal then
          literal
        else if isSign "(" at then
          andThen (deeper depth (binary 0) (at + 1)) (
            inner:
            if isSign ")" inner.next then
              inner // { next = inner.next + 1; }
            else
              unexpected "an operator or `)`" inner.next
          )
        else if token ? name then
          if isSign "(" (at + 1) then
            andThen (arguments depth (at + 2)) (call token.name)
          else
            let
              known = find contexts token.name;
            in
            value (if known == null then "any" else contexts.${known}) (at + 1)
            // {
              written = token.name;
              isContext = lib.elem (lib.toLower token.name) knownContexts;
              faults = lib.optional (
                known == null
              ) "`${token.name}`, which is not a context: ${words.hint token.name (lib.attrNames contexts)}";
            }
        else
          unexpected "a value" at;

      # The arguments between the parentheses of a call.
      arguments =
        depth: at:
        let
          go =
            read: at:
            andThen (deeper depth (binary 0) at) (
              argument:
              let
                all = read ++ [ argument ];
              in
              if isSign ")" argument.next then
                {
                  arguments = all;
                  next = argument.next + 1;
                }
              else if isSign "," argument.next then
                go all (argument.next + 1)
              else
                unexpected "`,` or `)`" argument.next
            );
        in
        if isSign ")" at then
          {
            arguments = [ ];
            next = at + 1;
          }
        else
          go [ ] at;
      call =
        written: read:
        let
          name = find arity written;
          least = lib.head arity.${name};
          most = lib.last arity.${name};
          given = length read.arguments;
          texts =
            if
              lib.elem name [
                "startsWith"
                "endsWith"
                "format"
                "fromJSON"
                "hashFiles"
              ]
            then
              read.arguments
            else if
              lib.elem name [
                "contains"
                "join"
              ]
            then
              lib.drop 1 read.arguments
            else
              [ ];
        in
        value (if name == null || name == "fromJSON" then "any" else "simple") read.next
        // {
          status = lib.elem name statusFunctions || lib.any (argument: argument.status) read.arguments;
          sign.call = written;
          faults =
            lib.concatMap (argument: argument.faults) read.arguments
            ++ (
              if name == null then
                [
                  "the function `${written}`, which is not there: ${words.hint written (lib.filter has (lib.attrNames arity))}"
                ]
              else
                lib.optional (!has name) (
                  if lib.elem name statusFunctions then
                    "`${name}`: status functions are for conditions; `job.status` tells the same"
                  else
                    "`${name}`: a job's condition is asked before its workspace is there: ask on a step"
                )
                ++ lib.optional (given < least || most != null && given > most) (
                  "`${name}` with ${toString given} arguments: it takes ${toString least}"
                  + lib.optionalString (most != least) " or more"
                )
                ++ map (_: "an object where `${name}` needs a text: give it one of its values") (
                  lib.filter (argument: builtins.isAttrs argument.shape) texts
                )
            );
        };

      root = andThen (deeper 0 (binary 0) 0) (
        read: if read.next == count then read else unexpected "an operator or the end" read.next
      );
    in
    if stringLength expression > bytesMax then
      { error = "more than ${toString bytesMax} bytes"; }
    else if lexed ? error then
      lexed
    else if badNumber != null then
      { error = noNumber badNumber.number; }
    else if count > tokensMax then
      { error = "more than ${toString tokensMax} words and signs"; }
    else
      root;

  lookUp =
    shape: of: name:
    let
      known = find shape.names name;
    in
    if shape == "any" then
      {
        shape = "any";
        faults = [ ];
      }
    else if shape == "simple" then
      {
        shape = "any";
        faults = [ "something in `${of}`, which is a text: take it away" ];
      }
    else if shape ? each then
      {
        shape = shape.each;
        faults = [ ];
      }
    else if known == null then
      {
        shape = "any";
        faults = [
          "`${of}.${name}`, which is not there: ${words.hint name (lib.attrNames shape.names)}"
        ];
      }
    else
      {
        shape = shape.names.${known};
        faults = [ ];
      };

  # Splits a text at the first place where another stands in it.
  splitFirst =
    separator: text:
    let
      parts = lib.splitString separator text;
    in
    {
      before = lib.head parts;
      after = if length parts == 1 then null else lib.concatStringsSep separator (lib.tail parts);
    };

  # The parts of a text: `{ text; }`, `{ expression; }`, or `{ error; }` for one without its end.
  # Braces in quotes do not end an expression.
  segments =
    text:
    let
      start = splitFirst "\${{" text;
      parts = lib.splitString "'" start.after;
      ends = lib.filter (index: lib.mod index 2 == 0 && lib.hasInfix "}}" (elemAt parts index)) (
        lib.range 0 (length parts - 1)
      );
      end = lib.head ends;
      last = splitFirst "}}" (elemAt parts end);
      rest = lib.concatStringsSep "'" ([ last.after ] ++ lib.drop (end + 1) parts);
    in
    lib.optional (start.before != "") { text = start.before; }
    ++ lib.optionals (start.after != null) (
      if ends == [ ] then
        [ { error = "`\${{` without its `}}`"; } ]
      else
        [ { expression = lib.concatStringsSep "'" (lib.take end parts ++ [ last.before ]); } ]
        ++ lib.optionals (rest != "") (segments rest)
    );
in
{
  inherit read segments;
  inherit (hints) bashHint withoutQuotes;

  # Returns whether a text has an expression in it that uses a function or a context.
  isUsedIn =
    text:
    lib.hasInfix "\${{" text
    && lib.any (part: part ? expression && hints.expressionHint part.expression != null) (
      segments text
    );

  # Returns the expression that a whole text is, without its braces, or null.
  whole =
    text:
    let
      parts = segments text;
    in
    if length parts == 1 then (lib.head parts).expression or null else null;

  # Returns the faults of an expression.
  faultsOf =
    place: expression:
    let
      result = read place expression;
    in
    if result ? error then [ result.error ] else result.faults;
}
