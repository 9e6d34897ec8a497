# The wording of errors.
{ lib }:
rec {
  quoted = lib.concatMapStringsSep ", " (name: "`${name}`");

  # Returns whether two texts differ by at most two changes of a character. The function of nixpkgs
  # with this meaning errs where a doubled character is missing.
  differAtMost2 =
    a: b:
    let
      longer = lib.stringLength a - lib.stringLength b;
    in
    longer <= 2 && longer >= -2 && lib.strings.levenshtein a b <= 2;

  # The names similar to a given one, the most similar first. Names that differ in half of their
  # length are left out, unless only the order of characters differs.
  near =
    name: known:
    let
      distance = lib.strings.levenshtein name;
      characters = text: lib.sort builtins.lessThan (lib.stringToCharacters text);
      isNear =
        other:
        differAtMost2 name other
        && (
          2 * distance other < lib.max (lib.stringLength name) (lib.stringLength other)
          || characters name == characters other
        );
    in
    lib.sort (a: b: distance a < distance b) (lib.filter isNear known);

  # A hint for an unknown name: the most similar known one, or some of the known ones. `none` is the
  # hint if there are none.
  hintOr =
    none: name: known:
    let
      meant = near name known;
    in
    if meant != [ ] then
      "did you mean `${lib.head meant}`?"
    else if known == [ ] then
      none
    else
      "there are ${quoted (lib.take 20 known)}${lib.optionalString (lib.length known > 20) ", …"}";

  hint = hintOr "there is none";

  # A value as a user would write it.
  written =
    value: if value ? _type then value.text else lib.generators.toPretty { multiline = false; } value;

  # A text with its lines wrapped anew, at 100 columns. Paragraphs stay.
  fill =
    text:
    let
      wordsOf =
        paragraph:
        lib.filter (word: builtins.isString word && word != "") (builtins.split "[ \n]+" paragraph);
      add =
        lines: word:
        let
          longer = "${lib.last lines} ${word}";
        in
        if lines == [ ] then
          [ word ]
        else if lib.stringLength longer <= 100 then
          lib.init lines ++ [ longer ]
        else
          lines ++ [ word ];
      fillParagraph = paragraph: lib.concatStringsSep "\n" (lib.foldl' add [ ] (wordsOf paragraph));
    in
    lib.concatMapStringsSep "\n\n" fillParagraph (lib.splitString "\n\n" text);

  # Makes links of the pages that a text names, such as `plan.md#hooks`. The descriptions of options
  # have no links themselves: the manual of NixOS, which has these options too, has no such pages.
  linked =
    text:
    lib.concatMapStrings (
      part: if builtins.isString part then part else "[${lib.elemAt part 1}](${lib.elemAt part 0})"
    ) (builtins.split "(([a-z]+[.]md)(#[a-z-]+)?)" text);

  # A name in the form it has inside of variables.
  upper = name: lib.toUpper (lib.replaceStrings [ "-" ] [ "_" ] name);

  # The names that stand more than once in a list.
  repeated =
    list: lib.attrNames (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy lib.id list));
}
