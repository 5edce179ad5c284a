"""Region features that people already have, read from the files that they lie in."""
