"""Where pairs come from: one file a kind of input."""
