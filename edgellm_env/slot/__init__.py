"""The decision problem of one slot: problem, what a batch uses of the limits, packing, picking."""
