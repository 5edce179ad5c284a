"""Lists of evaluation images and texts, and what of a corpus they hold already."""
