"""Command-line experiments: thin over tested functions."""
