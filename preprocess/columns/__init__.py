"""Annotation columns: one value a sample, beside the base shards (see `base`)."""
