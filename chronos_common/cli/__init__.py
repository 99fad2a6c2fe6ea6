"""The `chronos` command."""
