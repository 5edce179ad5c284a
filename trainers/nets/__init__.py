"""Layers and losses that several models use."""
