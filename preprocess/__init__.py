"""The work on one record or one batch: pure functions over bytes, arrays and tables."""

if __name__ != "septet.preprocess":  # two copies of a module would be two sets of classes
    raise ImportError("import septet.preprocess, not preprocess")
