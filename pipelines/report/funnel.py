"""The funnel and the times of a build, as the build leaves them in `stats/`."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from septet.pipelines.report.figures import Stage
from septet.pipelines.report.rejects import RejectCounts
from septet.preprocess import files
from septet.preprocess.columns.reader import column_names
from septet.schemas.layout import BUILD_TIMES, FUNNEL, column_build


class StageTime(BaseModel):
    """The time that a stage took, and what its tasks used (see `septet.pipelines.runners.usage`);
    `skipped` where its output was there already."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stage: str
    seconds: float
    skipped: bool = False
    cpu_seconds: float | None = None
    bytes_written: int = 0
    bytes_shuffled: int = 0
    peak_rss: int = 0
    retries: int = 0


class ColumnTime(StageTime):
    """The time that a column took, and what its tasks used: `columns/<name>/build.json`."""

    runner: str | None = None
    workers: int | None = None


class Build(BaseModel):
    """The content of `stats/build.json`, the one file of a corpus that differs between equal
    builds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stages: list[StageTime] = []
    runner: str | None = None
    workers: int | None = None


def _read(corpus: str, name: str) -> tuple[str, Any]:
    path = files.join(corpus, name)
    if not files.exists(path):
        return path, None
    try:
        data = json.loads(files.read_bytes(path))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): run the build again") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected an object with `stages`, found {type(data).__name__}")
    return path, data


def read_funnel(corpus: str) -> list[Stage]:
    """The stages of a corpus's funnel in build order; empty where it has none.

    Raises:
        ValueError: the file is not of the form that builds write.
    """
    path, data = _read(corpus, FUNNEL)
    if data is None:
        return []
    try:
        return [Stage.model_validate(stage) for stage in data["stages"]]
    except (ValidationError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not have a funnel's form: {error}") from error


def read_build(corpus: str) -> Build | None:
    """The times of the last build, None where they are not known.

    Raises:
        ValueError: the file is not of the form that builds write.
    """
    path, data = _read(corpus, BUILD_TIMES)
    if data is None:
        return None
    try:
        return Build.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{path} does not have the form of build times: {error}") from error


def read_column_times(corpus: str) -> list[ColumnTime]:
    """The times of a corpus's columns, of those where they are known.

    Raises:
        ValueError: a file is not of the form that annotations write.
    """
    found = []
    for name in column_names(corpus):
        path, data = _read(corpus, column_build(name))
        if data is not None:
            try:
                found.append(ColumnTime.model_validate(data | {"stage": f"column {name}"}))
            except ValidationError as error:
                raise ValueError(
                    f"{path} does not have the form of a column's time: {error}"
                ) from error
    return found


def contradictions(stages: list[Stage], found: RejectCounts, samples: int) -> list[str]:
    """Find where the funnel, the reject rows and the shards do not add up; returns sentences."""
    notes = []
    total = found.total
    for stage in stages:
        told = stage.rejected
        listed = {reason: n for (name, reason), n in total.items() if name == stage.stage}
        notes += [
            f"stage {stage.stage} says it dropped {told.get(reason, 0):,} as {reason}, rejects/ "
            f"has {listed.get(reason, 0):,}"
            for reason in sorted({*told, *listed})
            if told.get(reason, 0) != listed.get(reason, 0)
        ]
    if stages and stages[-1].rows_out != samples:
        notes.append(f"the funnel ends at {stages[-1].rows_out:,}, the shards hold {samples:,}")
    return notes
