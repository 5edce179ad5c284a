"""What holds for all tests."""

from hypothesis import settings

# The same examples in every run: what passed once passes again.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")
