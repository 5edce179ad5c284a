"""Tokenizers: BERT's WordPiece, CLIP's byte-pair encoding, SentencePiece of XLM-R and mT5."""
