# The number of attempts, and the waits between them.
{ lib, types }:
{
  options = {
    max_attempts = lib.mkOption {
      type = types.count;
      default = 3;
      example = 5;
      description = "The number of attempts in all.";
    };
    backoff = lib.mkOption {
      type = lib.types.enum [
        "exponential"
        "linear"
        "constant"
      ];
      default = "exponential";
      example = "linear";
      description = ''
        How the wait after attempt n grows: `min_time * 2^(n-1)`, `min_time * n`, or `min_time`.
      '';
    };
    min_time = lib.mkOption {
      type = types.wait;
      default = 1;
      example = "5s";
      description = "The first wait; 0 means no wait.";
    };
    max_time = lib.mkOption {
      type = types.wait;
      default = 60;
      example = "5m";
      description = "The longest wait.";
    };
  };
}
