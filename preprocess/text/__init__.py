"""Rules, language and hashes of captions."""
