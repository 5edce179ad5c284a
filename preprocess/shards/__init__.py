"""WebDataset tars and their Parquet sidecars: writing, indexing, reading."""
