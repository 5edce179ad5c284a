"""`python -m septet` is `septet`, for launchers such as torchrun that want a module."""

from septet.pipelines.cli import main

main()
