"""Trackers: other places that a run's figures go to, beside its folder."""
