"""PaLI; see the README."""
