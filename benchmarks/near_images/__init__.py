"""Near-duplicate images, and leaked evaluation images: a labelled set, figures, peers."""
