"""Measures that several models take on held-out corpora."""
