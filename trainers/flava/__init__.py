"""FLAVA; see the README."""
