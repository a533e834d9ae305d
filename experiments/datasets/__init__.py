"""Datasets of recorded episodes: collected in seeded units, merged into the Minari format, verifiable row by row."""
