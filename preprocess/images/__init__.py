"""Decoding, resizing and encoding of images."""
