"""Near-duplicates: captions, found by MinHash and verified token by token (see
`docs/decisions/0024-near-duplicates.md`; needs the extra `near`), and images, found by perceptual
hashes and verified by thumbnails (`docs/decisions/0028-near-images.md`)."""
