# Values as units have them (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers").
{ lib }:
{
  # A word of a command line: systemd expands neither specifiers nor variables in it.
  word = text: lib.replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON "${text}");

  # The file of a credential, or nothing.
  credential =
    name: file: lib.optional (file != null) (lib.replaceStrings [ "%" ] [ "%%" ] "${name}:${file}");
}
