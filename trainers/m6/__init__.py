"""M6; see the README."""
