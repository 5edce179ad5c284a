"""What happens to one record or one batch: pure functions over bytes, arrays and tables."""
