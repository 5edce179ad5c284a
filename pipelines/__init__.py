"""Beam: sources, stages, sinks, runner set-up, corpus statistics and report."""
