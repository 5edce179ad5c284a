"""A local web application over a corpus: see, filter, and cut it."""
