"""Fetching from the test server, with limits that keep tests quick."""

from septet.preprocess.http.client import Fetched, fetch_many
from septet.schemas.reasons import REASONS
from septet.schemas.recipe import Fetch

IMAGE = bytes(range(256)) * 400
LIMIT = 2**20


def quick(server, **changes):
    """Limits as hard as a busy machine allows, for the server's address only."""
    policy = Fetch(
        connect_timeout=2.0,
        first_byte_timeout=2.0,
        total_timeout=10.0,
        max_bytes=LIMIT,
        backoff=0.01,
        give_up_after=0,
        allowed_hosts=(server.host,),
        robots="ignore",
        opt_out_files=[],
    )
    return Fetch(**{**policy.model_dump(), **changes})


def fetch_list(urls, policy, sites=None, share=1):
    results: list[Fetched] = []
    fetch_many(urls, policy, results.append, share=share, sites=sites)
    return results


def fetch_one(url, policy):
    [result] = fetch_list([url], policy)
    assert result.url == url
    assert (result.body is None) == (result.reason is not None)
    assert result.reason is None or "fetch" in REASONS[result.reason].stages
    return result


def outcome(url, policy):
    result = fetch_one(url, policy)
    return result.reason, result.value
