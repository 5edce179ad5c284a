"""Statistics of a corpus, as tables, JSON and one HTML page."""
