"""Scene graphs of captions: objects, attributes, numbers, relations, with their characters.

`parsers.PARSERS` makes graphs, `tokens.with_tokens` adds a tokenizer's pieces to them.
"""
