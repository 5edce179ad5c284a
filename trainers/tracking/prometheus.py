"""A run's newest figures for Prometheus to fetch."""

import json
import re
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit


class Prometheus:
    """An endpoint on the first rank, `http://HOST:PORT/metrics`, while the run trains.

    A figure is a gauge `septet_NAME`; one of several of a kind, as `loss/contrastive`, is
    `septet_loss{part="contrastive"}`. Of the process itself there are memory and CPU seconds.

    Args:
        address: Where to listen, HOST:PORT.

    Raises:
        ValueError: it is no such address, or prometheus_client is not installed.
    """

    def __init__(self, address: str):
        self._address, self._client = address, _installed()
        self._host, self._port = _parsed(address)
        self._registry = self._client.CollectorRegistry()
        self._gauges: dict[str, Any] = {}
        self._served: tuple[Any, Any] | None = None

    def begin(self, folder: Path) -> None:
        """See `septet.trainers.task.Tracker`.

        Raises:
            ValueError: nothing can listen there.
        """
        self._client.ProcessCollector(registry=self._registry)
        record = json.loads((folder / "run.json").read_text())
        told = {name: str(record.get(name, "")) for name in ("model", "preset", "out")}
        self._client.Info("septet_run", "The run.", registry=self._registry).info(told)
        self._set("steps", record["train"]["steps"])
        try:
            self._served = self._client.start_http_server(self._port, self._host, self._registry)
        except OSError as error:
            raise ValueError(f"--prometheus {self._address}: {error.strerror}") from error

    def log(self, step: int, figures: dict[str, float]) -> None:
        """See `septet.trainers.task.Tracker`."""
        for name, value in {**figures, "step": step, "reported_time_seconds": time.time()}.items():
            self._set(name, value)

    def close(self) -> None:
        """End the endpoint."""
        if self._served is not None:
            server, thread = self._served
            server.shutdown()
            server.server_close()
            thread.join()

    def _set(self, name: str, value: float) -> None:
        kind, _, part = name.partition("/")
        metric = "septet_" + re.sub(r"\W", "_", kind, flags=re.ASCII)
        if metric not in self._gauges:
            self._gauges[metric] = self._client.Gauge(
                metric, f"{kind}, as in metrics.jsonl", ["part"], registry=self._registry
            )
        self._gauges[metric].labels(part).set(value)


def _parsed(address: str) -> tuple[str, int]:
    try:
        found = urlsplit(f"//{address}")
        host, port = found.hostname, found.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise ValueError(f"--prometheus is HOST:PORT, such as 0.0.0.0:9400, not {address!r}")
    return host, port


def _installed() -> ModuleType:
    try:
        import prometheus_client
    except ImportError as error:
        raise ValueError(
            "--prometheus needs prometheus_client: pip install 'septet[prometheus]'"
        ) from error
    return prometheus_client
