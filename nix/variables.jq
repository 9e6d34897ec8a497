# Variables between what they are read from and what they are written for: an object of texts, by name.
# Nothing that fails says a value, and jq's own errors, which would, are not let through.

def fail($message): "error: \($source): \($message)\n" | halt_error(1);

# Text -> object.
def json: try fromjson catch fail("is not JSON");

# `NAME=value` lines, as in a `.env` file, -> object.
def dotenv:
  def value($line):
    if startswith("'") then
      (capture("\\A'(?<text>[^']*)'\\s*\\z") // fail("line \($line): the quote is not closed, or something follows it")).text
    elif startswith("\"") then
      (capture("\\A\"(?<text>(?>[^\"\\\\]+|\\\\.)*)\"\\s*\\z") // fail("line \($line): the quote is not closed, or something follows it")).text
      | gsub("\\\\(?<escaped>.)"; if .escaped == "n" then "\n" else .escaped end)
    else
      sub("\\s+\\z"; "")
    end;
  [
    split("\n") | to_entries[] | (.key + 1) as $line | .value
    | select(test("\\A\\s*(#.*)?\\z") | not)
    | capture("\\A\\s*(export\\s+)?(?<key>[A-Za-z_][A-Za-z0-9_]*)=(?<value>.*)\\z") // fail("line \($line): is not `NAME=value`")
    | .value |= value($line)
  ]
  | from_entries;

# The fields of a password manager's entry, `[{key, value}]`, -> object.
def fields:
  (group_by(.key) | map(select(length > 1)[0].key)) as $twice
  | if $twice == [] then from_entries else fail("has several fields `\($twice[0])`") end;

# Takes the fields that are asked for, under new names; all under their own with `null`.
def chosen($variables):
  if type != "object" then fail("has no variables") else . end
  | if $variables == null then . else
      . as $all
      | $variables
      | with_entries(.value as $field | .value = if $all | has($field) then $all[$field] else fail("has no `\($field)`, only: \($all | keys | join(", "))") end)
    end;

# Checks the names, and makes every value a text.
def texts:
  with_entries(
    .key as $name
    | if $name | test("\\A[A-Za-z_][A-Za-z0-9_]*\\z") | not then
        fail("invalid variable name `\($name)`: rename it, or choose with `variables = { NAME = \"\($name)\"; }`")
      else . end
    | .value |= (
        type as $type
        | if $type == "string" then .
          elif $type == "null" then ""
          # Larger numbers are not exact in JSON.
          elif $type == "number" and fabs >= 9007199254740992 then fail("`\($name)` is too large a number: write it in quotes")
          elif $type == "number" or $type == "boolean" then tostring
          else fail("`\($name)` is an \($type): only texts, numbers and booleans are variables")
          end
      )
  );

# Object -> `::add-mask::` commands. Line by line, since a mask of several lines would hide lines of any length; in pieces, since a
# line of output that is too long is no command.
def masks:
  .[] | splits("[\r\n]+") | range(0; length; 4096) as $start | .[$start:$start + 4096]
  | gsub("\\A\\s+|\\s+\\z"; "") | select(utf8bytelength >= 3) | "::add-mask::\(gsub("%"; "%25"))";

# Object -> the text of $NIXACTIONS_ENV. No line of a value is its delimiter.
def heredocs:
  to_entries[]
  | [.value | splits("\r?\n")] as $lines
  | first(range(0; infinite) | "END\(.)" | select(. as $delimiter | all($lines[]; . != $delimiter))) as $delimiter
  | "\(.key)<<\($delimiter)\n\(.value)\n\($delimiter)";

# Object -> the lines of a provider.
def exports: to_entries[] | "export \(.key)=\(.value | @sh)";
