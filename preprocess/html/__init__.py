"""Pages to candidate pairs."""
