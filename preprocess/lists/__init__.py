"""Lists of rows: Parquet, CSV, TSV and JSON, read row by row with bounded memory."""
