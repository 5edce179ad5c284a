"""A stand-in for the two services that a submission to Dataflow talks to: the jobs API, checked
against the published discovery document, and Cloud Storage, by an emulator."""

import json
import re
import sys
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema

Run = Callable[[dict[str, Any]], str | None]
"""Runs a job, given as the service got it; returns what went wrong."""


@cache
def discovery() -> dict[str, Any]:
    """The discovery document of Dataflow v1b3, as Google's client ships it; `make setup` lays that
    beside the environment, for Beam would find parts of Google's in it."""
    peer = Path(sys.prefix) / "peers/google-api-python-client-2.202.0"
    path = peer / "googleapiclient/discovery_cache/documents/dataflow.v1b3.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _strict(schema: Any) -> Any:
    """A schema of the document as JSON Schema that lets no unknown field pass."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": "#/$defs/" + schema["$ref"]}
    if schema.get("type") == "any":
        return {}
    if "enum" in schema:  # by name, or by number as Google's own client sends them
        numbers = {"type": "integer", "minimum": 0, "maximum": len(schema["enum"]) - 1}
        return {"anyOf": [{"enum": schema["enum"]}, numbers]}
    if schema.get("format") in ("int64", "uint64"):
        return {"type": "string", "pattern": r"^-?\d+$"}
    made = {"type": schema["type"]} if "type" in schema else {}
    if "properties" in schema:
        made["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        made["additionalProperties"] = False
    for word in ("items", "additionalProperties"):
        if word in schema:
            made[word] = _strict(schema[word])
    return made


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """The validator of one of the document's schemas."""
    definitions = {key: _strict(value) for key, value in discovery()["schemas"].items()}
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})


def methods() -> Iterator[dict[str, Any]]:
    """The methods of jobs of a region."""
    jobs = discovery()["resources"]["projects"]["resources"]["locations"]["resources"]["jobs"]
    yield from jobs["methods"].values()
    yield from jobs["resources"]["messages"]["methods"].values()


class Refused(ValueError):
    """Raised when the service would answer 400."""


@dataclass
class _Job:
    facts: dict[str, Any]
    ended: threading.Event = field(default_factory=threading.Event)
    error: str | None = None


class Service:
    """The jobs API at `url`. `run` runs the jobs, one at a time; `jobs` has the requests."""

    def __init__(self, run: Run):
        self.run = run
        self.jobs: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self._known: dict[str, _Job] = {}
        self._one = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if self.path == "/token":  # who has an account's key gets one
                    status, found = 200, {"access_token": "a-token", "expires_in": 3600}
                elif not self.headers.get("Authorization", "").startswith("Bearer "):
                    status, found = 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}
                else:
                    status, found = service.answer(self.command, self.path, body)
                data = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("localhost", 0), Handler)
        self.url = f"http://localhost:{self._server.server_port}"

    def __enter__(self) -> "Service":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, verb: str, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """The answer to one request: status and body."""
        try:
            return 200, self._answer(verb, target, body)
        except Refused as error:
            self.refused.append(str(error))
            return 400, {
                "error": {"code": 400, "message": str(error), "status": "INVALID_ARGUMENT"}
            }

    def _answer(self, verb: str, target: str, body: bytes) -> dict[str, Any]:
        path, _, query = target.partition("?")
        for method in methods():
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", "/" + method["path"])
            found = re.fullmatch(pattern, path)
            if found and verb == method["httpMethod"]:
                break
        else:
            raise Refused(f"there is no method {verb} {path}")
        known = {*method["parameters"], *discovery()["parameters"], "$alt"}
        if unknown := {name for name, _ in urllib.parse.parse_qsl(query)} - known:
            raise Refused(f"{method['id']} has no parameter {', '.join(sorted(unknown))}")
        name = method["id"].removeprefix("dataflow.projects.locations.jobs.")
        if name == "create":
            return self._create(found["projectId"], found["location"], json.loads(body))
        job = self._known[found["jobId"]]
        # It answers when the job has ended, for clients ask again after five seconds only.
        job.ended.wait()
        if name == "messages.list":
            text = [] if job.error is None else [job.error]
            return {"jobMessages": [self._message(each) for each in text]}
        assert name == "get", name
        state = "JOB_STATE_DONE" if job.error is None else "JOB_STATE_FAILED"
        return {**job.facts, "currentState": state}

    @staticmethod
    def _message(text: str) -> dict[str, Any]:
        return {
            "id": "1",
            "time": "2026-01-01T00:00:00Z",
            "messageText": text,
            "messageImportance": "JOB_MESSAGE_ERROR",
        }

    def _create(self, project: str, region: str, request: dict[str, Any]) -> dict[str, Any]:
        if wrong := [*validator("Job").iter_errors(request)]:
            error = jsonschema.exceptions.best_match(wrong)
            raise Refused(f"job{error.json_path[1:]}: {error.message}")
        # What the document says in words.
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?", request.get("name", "")):
            raise Refused(f"job.name: {request.get('name')!r}")
        for key in request.get("labels", ()):
            if not re.fullmatch(r"[^\W\dA-Z_]\w{0,62}", key.replace("-", "_")):
                raise Refused(f"job.labels: {key!r} is no key of a label")
        self.jobs.append(request)
        job = _Job({"id": uuid.uuid4().hex, "name": request["name"], "projectId": project})
        job.facts |= {"location": region, "clientRequestId": request.get("clientRequestId", "")}
        self._known[job.facts["id"]] = job
        thread = threading.Thread(target=self._run, args=(job, request))
        thread.start()
        if len(self.jobs) > 1:
            # Clients look every five seconds at a job that has not ended: the first, and those
            # that fail, are enough of them.
            thread.join()
            if job.error is None:
                return {**job.facts, "currentState": "JOB_STATE_DONE"}
        return {**job.facts, "currentState": "JOB_STATE_QUEUED"}

    def _run(self, job: _Job, request: dict[str, Any]) -> None:
        with self._one:
            job.error = self.run(request)
            job.ended.set()


@contextmanager
def cloud_storage(port: int, bucket: str) -> Iterator[str]:
    """Cloud Storage with one bucket at `port`, for the block; gives the URL for
    STORAGE_EMULATOR_HOST."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
