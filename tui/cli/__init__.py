"""The `recsys` command: one file a command group."""
