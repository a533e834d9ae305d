"""Policies by settings by episodes: one resumable runner."""
