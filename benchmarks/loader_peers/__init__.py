"""Other loaders, each with its own format; see `__main__`."""
