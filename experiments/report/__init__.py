"""``python -m experiments report``: results as one page that opens offline."""
