"""Shows: the `recsys` command and the Textual application."""
