"""Settings of runs: their base, changes to them, presets."""
