"""Opt-outs in the headers of an HTTP answer.

`X-Robots-Tag` as search engines read it, with the directives noai and noimageai (DeviantArt,
2022) and noml (Mojeek), and `tdm-reservation` (W3C TDM Reservation Protocol, 2024).
"""

import re
from collections.abc import Collection, Iterable, Mapping

_SCOPE = re.compile(r"\s*([a-z0-9*_./-]+)\s*:(.*)", re.DOTALL)
_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


def agent_token(user_agent: str) -> str:
    """The product token of a user agent, in lower case: "Septet/0.1 (+https://…)" is septet."""
    return user_agent.split("/")[0].split()[0].lower()


def robots_directives(header: str, agent: str) -> set[str]:
    """Read the directives of one X-Robots-Tag value that concern `agent` (lower case).

    "noindex, nofollow" concerns everyone; in "somebot: noindex, nofollow" both directives concern
    somebot. "none" stands for noindex and nofollow.
    """
    found: set[str] = set()
    concerned = True
    for part in header.lower().split(","):
        scope = _SCOPE.match(part)
        if scope and scope[1] not in _VALUED:
            concerned = scope[1] in ("*", agent)
            part = scope[2]
        if concerned:
            found.add(part.strip())
    if "none" in found:
        found |= {"noindex", "nofollow"}
    return found


def archived_opt_out(
    headers: Mapping[str, str], agent: str, directives: Collection[str], tdm_reservation: bool
) -> str | None:
    """Find the first opt-out in the headers of an archived answer; None where there is none.

    Args:
        headers: By names in lower case; the values of a repeated header stand in lines.
        agent: As of `find_opt_out`.
        directives: Likewise.
        tdm_reservation: Whether `tdm-reservation: 1` is honoured.
    """
    if "x-robots-tag" not in headers and "tdm-reservation" not in headers:
        return None
    tdm = re.split(r"[\n,]", headers.get("tdm-reservation", "")) if tdm_reservation else ()
    return find_opt_out(headers.get("x-robots-tag", "").split("\n"), tdm, agent, directives)


def find_opt_out(
    robots: Iterable[str], tdm: Iterable[str], agent: str, directives: Collection[str]
) -> str | None:
    """Find the first opt-out that applies; None where there is none.

    Args:
        robots: the values of the answer's X-Robots-Tag headers.
        tdm: the values of its tdm-reservation headers, or nothing where these are not honoured.
        agent: our own token, which scoped directives may name.
        directives: the directives that are honoured, in the order in which they are reported.
    """
    stated = set().union(*(robots_directives(value, agent.lower()) for value in robots))
    for directive in directives if stated else ():
        if directive.lower() in stated:
            return directive
    if any(value.strip() == "1" for value in tdm):
        return "tdm-reservation"
    return None
