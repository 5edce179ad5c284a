"""Readers of files of region features that exist already."""
