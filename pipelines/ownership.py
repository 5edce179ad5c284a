"""Ownership of a corpus folder: where a build may write, and what it may remove."""

import json
import re
from collections.abc import Iterable

from septet.preprocess import files
from septet.preprocess.shards.heads import read_corpus
from septet.schemas import layout
from septet.schemas.versioned import ManifestError

_REJECT_FILE = re.compile(r"(source|filter|dedup|fetch|curate|write|rejects)-\d+\.parquet")
_STATS = (layout.FUNNEL, layout.BUILD_TIMES, layout.STATISTICS, layout.REPORT)
_LISTS = (layout.MANIFEST, layout.SHARD_LIST, layout.INPUT_LIST)


class ForeignFolderError(ValueError):
    """Raised when a folder holds files that no build of Septet wrote."""


def require_ours(corpus: str) -> None:
    """Refuse a folder that holds other files, unless a build has begun or finished there.

    Empty folders (such as `shards` as a link to a large disk) and hidden files do not count.

    Raises:
        ForeignFolderError: it holds other files, or shards that were indexed and not built.
        ValueError: its name is no text.
    """
    try:
        corpus.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{corpus!r}: the name is not UTF-8; give the corpus another folder (--out)"
        ) from error
    names = [name for name in files.list_folder(corpus) if not name.startswith(".")]
    names = [name for name in names if name != layout.REMOVED]  # may come from another corpus
    if layout.STAGES in names or _is_built(corpus):
        return
    full = [name for name in names if not _is_empty_folder(files.join(corpus, name))]
    if full:
        raise ForeignFolderError(
            f"{corpus} holds {full[0]!r}, but neither `{layout.STAGES}/` nor a "
            f"`{layout.MANIFEST}` of a build: give the corpus a new or empty folder (--out)"
        )


def _is_built(corpus: str) -> bool:
    path = files.join(corpus, layout.MANIFEST)
    if not files.exists(path):
        return False
    try:
        head = json.loads(files.read_bytes(path))
    except ValueError:
        return False
    return isinstance(head, dict) and head.get("recipe") is not None


def _is_empty_folder(path: str) -> bool:
    if files.is_local(path):
        local = files.local_path(path)
        return local.is_dir() and not any(local.iterdir())
    return False


def remove_earlier(corpus: str, begun: Iterable[int]) -> None:
    """Remove the corpus that an earlier build wrote, and nothing else.

    Its head goes first: what is left by a build that is stopped here does not look complete.

    Args:
        corpus: The corpus folder.
        begun: Numbers of shards that builds which were stopped may have written.
    """
    written = {path for n in begun for path in (layout.shard_tar(n), layout.shard_sidecar(n))}
    try:
        for shard in read_corpus(corpus)[1]:
            written |= {shard.tar, shard.sidecar}
    except ManifestError:
        pass  # a build that was stopped has none
    for name in (*_LISTS, *_STATS):
        files.remove(files.join(corpus, name))
    remove_rejects(corpus)
    for path in sorted(written):
        if path.startswith(layout.SHARDS + "/"):
            files.remove(files.join(corpus, layout.inside(path, layout.MANIFEST)))


def remove_rejects(corpus: str) -> None:
    """Remove the reject rows of an earlier build."""
    for name in files.list_folder(files.join(corpus, layout.REJECTS)):
        if _REJECT_FILE.fullmatch(name):
            files.remove(files.join(corpus, layout.REJECTS, name))
