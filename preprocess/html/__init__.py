"""HTML pages to candidate pairs: images with the texts that caption them."""
