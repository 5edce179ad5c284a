"""Commands: train, dry run, export, predict, weights of others, sizes of models."""
