"""Mixtures of tasks, their instructions, and what became of the samples that were drawn."""
