"""Synthetic images and captions for tests, examples and learning runs."""
