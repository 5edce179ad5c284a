"""A crawl from seeds: pages of given hosts, kept as WARC files."""
