"""What a task reads: images, members, masks, codes, word pieces."""
