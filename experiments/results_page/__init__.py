"""The results page: docs/results.md and its plots, from stored results alone."""
