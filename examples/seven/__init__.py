"""`make seven`: one corpus, seven models trained from it, one table and one page."""
