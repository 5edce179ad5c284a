"""Commands: train, dry run, export, sizes of models."""
