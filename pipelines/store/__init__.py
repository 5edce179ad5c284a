"""The fetch store: every image that was fetched, once, by URL."""
