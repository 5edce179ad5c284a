"""Takedown: samples that are removed from a corpus and never come back."""
