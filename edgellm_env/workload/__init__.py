"""Requests: what a trace of them is, and where it comes from."""
