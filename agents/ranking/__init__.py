"""Rankers: a score per waiting request, from which the node packs greedily; trained by direct search."""
