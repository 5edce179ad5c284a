"""The engine: runs, updates, ranks, optimizers, checkpoints and metrics. It knows no model."""
