"""The engine: order, loader, step, checkpoints and metrics. It knows no model."""
