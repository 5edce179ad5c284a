"""Fetching, decoding, resizing and encoding of pictures."""
