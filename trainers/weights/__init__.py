"""Weights that others wrote: how files are read, and how exports are written."""
