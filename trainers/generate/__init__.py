"""Decoding: writing text, boxes and image codes token by token, with a key-value cache."""
