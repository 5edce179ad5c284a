"""Image codes: images as grids of words from a learnt codebook (see `docs/codes.md`)."""
