"""From corpora to batches: order by arithmetic, samples by position, threads that decode."""
