{ nixactions, ... }:
nixactions.mkWorkflow [ { name = "ci"; } ]
