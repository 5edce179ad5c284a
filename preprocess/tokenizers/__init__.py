"""Tokenizers: WordPiece, byte-pair encoding of CLIP, SentencePiece of XLM-R."""
