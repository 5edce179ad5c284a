"""The fetch store: every image that was fetched, kept once by its URL."""
