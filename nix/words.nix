# How errors name things.
{ lib }:
rec {
  quoted = lib.concatMapStringsSep ", " (name: "`${name}`");

  # What was probably meant by a name that there is not: the nearest of those that there are, or some of them.
  hint =
    name: known:
    let
      near = lib.sort (a: b: lib.strings.levenshtein name a < lib.strings.levenshtein name b) (
        lib.filter (lib.strings.levenshteinAtMost 2 name) known
      );
    in
    if near != [ ] then
      "did you mean `${lib.head near}`?"
    else if known == [ ] then
      "there is none"
    else
      "there are ${quoted (lib.take 20 known)}${lib.optionalString (lib.length known > 20) ", …"}";

  # A value as it would be written.
  written =
    value: if value ? _type then value.text else lib.generators.toPretty { multiline = false; } value;

  # The names that stand more than once in a list.
  repeated =
    list: lib.attrNames (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy lib.id list));
}
