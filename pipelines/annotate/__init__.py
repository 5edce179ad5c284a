"""Annotating a corpus: columns made shard by shard, on any runner."""
