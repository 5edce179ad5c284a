"""Builds of corpora: sources, stages, runners, annotation, statistics and report."""

if __name__ != "septet.pipelines":  # two copies of a module would be two sets of classes
    raise ImportError("import septet.pipelines, not pipelines")
