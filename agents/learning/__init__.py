"""Learners: one readable file each, and what they share."""
