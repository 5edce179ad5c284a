"""The sources of pairs: one file for each kind of input."""
