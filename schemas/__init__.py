"""Data contracts: Arrow schemas, the recipe and the corpus manifest."""

if __name__ != "septet.schemas":  # two copies of a module would be two sets of classes
    raise ImportError("import septet.schemas, not schemas")
