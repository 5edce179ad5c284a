"""Views of corpora: samples chosen by what is known of them, and written for other tools."""
