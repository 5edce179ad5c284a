"""Near-duplicate captions: found by MinHash, verified token by token (see
`docs/decisions/0024-near-duplicates.md`). Needs the extra `near`."""
