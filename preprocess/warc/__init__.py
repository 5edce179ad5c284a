"""Web archives (WARC files): the records of a file, also behind damage."""
