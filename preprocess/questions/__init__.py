"""Question-answer pairs of pictures: from VQA sets (`sources`), and made from captions
(`captions`)."""
