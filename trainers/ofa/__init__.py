"""OFA; see the README."""
