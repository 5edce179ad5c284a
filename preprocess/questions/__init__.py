"""Question-answer pairs of images: from VQA sets (`sources`), and made from captions
(`captions`)."""
