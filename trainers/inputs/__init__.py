"""What a task reads: images, members, kinds of samples, masks, codes, word pieces."""
