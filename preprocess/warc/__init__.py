"""Web archives (WARC files): the records of a file, found also behind damage."""
