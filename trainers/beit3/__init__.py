"""BEiT-3; see the README."""
