"""Optimizers, for whole and sharded parameters."""
