"""Annotated sets in their published formats, row by row, merged by image."""
