"""Stored rows, statistics, tables and plots."""
