"""Sweeps: policies compared at every point of a grid of scenario settings, resumable."""
