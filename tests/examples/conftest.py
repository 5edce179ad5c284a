"""A browser, for the page of `make seven`."""

from tests.browser import browser as browser
