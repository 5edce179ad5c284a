"""Rules that captions must pass, a family a file.

A rule is a function from a batch of captions to a verdict on each of them; `table` lists all of
them with their versions, settings and sources. `apply` splits candidates into those that pass and
rejects that say why.
"""
