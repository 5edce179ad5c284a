"""What holds for all tests."""

from hypothesis import settings

# The same examples in every run, on machines of any speed: what passed once passes again.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")
