# How errors name things.
{ lib }:
rec {
  quoted = lib.concatMapStringsSep ", " (name: "`${name}`");

  # The names that are near one, the nearest first. Those that differ in half of their length are
  # not, but for the order of characters.
  near =
    name: known:
    let
      distance = lib.strings.levenshtein name;
      characters = text: lib.sort builtins.lessThan (lib.stringToCharacters text);
      isNear =
        other:
        lib.strings.levenshteinAtMost 2 name other
        && (
          2 * distance other < lib.max (lib.stringLength name) (lib.stringLength other)
          || characters name == characters other
        );
    in
    lib.sort (a: b: distance a < distance b) (lib.filter isNear known);

  # What was probably meant by a name that there is not: the nearest of those that there are, or
  # some of them. `none` is said where there are none.
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

  # A value as it would be written.
  written =
    value: if value ? _type then value.text else lib.generators.toPretty { multiline = false; } value;

  # A text whose lines are broken anew, at 100 columns; paragraphs stay.
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

  # The names that stand more than once in a list.
  repeated =
    list: lib.attrNames (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy lib.id list));
}
