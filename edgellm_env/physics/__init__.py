"""Transformer, quantization and radio formulas: pure functions of arrays, no environment inside."""
