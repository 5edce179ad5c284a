"""The engine and one folder for each model."""

if __name__ != "septet.trainers":  # two copies of a module would be two sets of classes
    raise ImportError("import septet.trainers, not trainers")
