"""Boxes: through resize, crop and flip (`transforms`), and as tokens (`tokens`)."""
