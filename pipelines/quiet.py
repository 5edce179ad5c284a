"""Silences the warnings that Beam prints at its start although nothing is wrong.

Import it before `apache_beam`.
"""

import logging


def _worth_saying(record: logging.LogRecord) -> bool:
    # Said at import wherever Google Cloud's libraries are not installed.
    return not record.getMessage().startswith("apitools not found")


logging.getLogger().addFilter(_worth_saying)
