"""The engine and one folder for each model."""
