"""The study of arXiv 2405.07140 on our reconstruction of its setting: figures, claims, and what holds."""
