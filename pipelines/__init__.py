"""Apache Beam pipelines: sources, stages, runners, corpus statistics and report."""

if __name__ != "septet.pipelines":  # two copies of a module would be two sets of classes
    raise ImportError("import septet.pipelines, not pipelines")
