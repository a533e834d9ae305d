"""What serving a request costs a node: transformer, quantization and radio formulas, and the cost models."""
