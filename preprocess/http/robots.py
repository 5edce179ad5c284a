"""Rules of a server for its visitors: robots.txt (RFC 9309), ai.txt, tdmrep.json, as one kind of
rules.

ai.txt (Spawning) has the form of robots.txt. A rule of tdmrep.json (W3C TDMRep) is a pattern of
paths, reserved or not, and is read as one that is disallowed or allowed. So all match alike: the
longest pattern that matches counts, and of two of the same length the one that allows.
"""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protego import Protego

MAX_BYTES = 500 * 2**10
"""Bytes of a file that are read; RFC 9309 asks for no less. What is behind them is ignored."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_AGENT_LINE = re.compile(r"user[-\s]*agent\s*[:\s]\s*(.*)", re.IGNORECASE)
_TOKEN = re.compile(r"[^\s/*;]+")
_NOBODY = "no body"  # tokens have no blank: nobody has this one
_MAX_RULES = 20_000


class Rules:
    """The rules of one file, for one agent.

    Args:
        parsed: What the file says; None where it says nothing.
        agent: Our token, in lower case.
    """

    def __init__(self, parsed: "Protego | None", agent: str):
        self._parsed, self._agent = parsed, agent
        delay = parsed.crawl_delay(agent) if parsed else None
        self.crawl_delay: float = delay or 0.0
        """Seconds between two requests that the server asks for; 0 where it asks for none."""
        self.sitemaps: list[str] = list(parsed.sitemaps) if parsed else []
        """Addresses of sitemaps, as written."""

    def allows(self, url: str) -> bool:
        """Whether `url`, an absolute one, may be requested."""
        return self._parsed is None or bool(self._parsed.can_fetch(url, self._agent))


def read_robots(data: bytes, agent: str) -> Rules:
    """Read robots.txt or ai.txt; any bytes are one.

    Of the groups those count that name `agent` (to the letter, but for case and a version) or,
    where none does, those that name "*".

    Args:
        data: The file; of one that is too long whole lines of the first `MAX_BYTES`.
        agent: Our token, in lower case.
    """
    text = data[:MAX_BYTES].removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace")
    lines = text.splitlines()
    if len(data) > MAX_BYTES and lines:
        lines.pop()
    kept = [line for line in _lines(lines, agent) if line]
    return _parse("\n".join(kept), agent) if kept else Rules(None, agent)


def _lines(lines: list[str], agent: str) -> Iterator[str]:
    """The lines without comments, each group named `agent`, "*" or `_NOBODY`: the parser takes time
    in proportion to the names in a file, squared, and a part of a token for the token."""
    for line in lines:
        line = line.partition("#")[0].strip()
        if found := _AGENT_LINE.fullmatch(line):
            name = found[1].strip().lower()
            token = _TOKEN.match(name)
            if name and name != "*":
                line = f"User-agent: {agent if token and token[0] == agent else _NOBODY}"
        yield line


def read_tdmrep(data: bytes) -> Rules:
    """Read tdmrep.json, an array of objects with `location`, a pattern of paths, and
    `tdm-reservation`, 0 or 1. Files and objects of another form say nothing."""
    try:
        found = json.loads(data.removeprefix(_BYTE_ORDER_MARK)) if len(data) <= MAX_BYTES else []
    except (ValueError, RecursionError):
        found = []
    objects = found if isinstance(found, list) else [found]
    lines = [line for one in objects[:_MAX_RULES] if (line := _tdm_rule(one))]
    return _parse("\n".join(["User-agent: *", *lines]), "*") if lines else Rules(None, "*")


def _tdm_rule(one: Any) -> str | None:
    if not isinstance(one, dict) or not isinstance(one.get("location"), str):
        return None
    location = re.sub(r"\s+", "%20", one["location"].strip()).replace("#", "%23")
    if not location.startswith(("/", "*")):
        location = f"/{location}"
    verb = {"1": "Disallow", "0": "Allow"}.get(str(one.get("tdm-reservation")))
    return f"{verb}: {location}" if verb else None


def _parse(text: str, agent: str) -> Rules:
    from protego import Protego  # only here: most servers have no rules at all

    return Rules(Protego.parse(text), agent)
