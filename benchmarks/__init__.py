"""Benchmarks: each runs Septet beside its peer in one run and prints ratios."""
