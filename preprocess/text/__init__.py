"""Text rules, languages and hashes of captions."""
