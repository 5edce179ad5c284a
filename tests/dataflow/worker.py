"""A stand-in for a Dataflow worker: it runs in an image's environment, by the image's Python alone.

A line of standard input is a job, as JSON: its `pipeline` is the URL of the staged pipeline, with
the `options` that the request gave to the SDK. A line of standard output is its end: null, or what
went wrong. Jobs run on Beam's embedded portable runner; one that is to be `booted` starts
Beam's worker program, as an image's boot program does, the others use the process that there is.
"""

import hashlib
import json
import logging
import shlex
import sys
import traceback

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

# Without its end an embedded runner would wait for it for ever.
HARNESS = (
    f"PIPELINE_OPTIONS={{}} {sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
    " || kill $PPID"
)
# Of the machine that launched, for people to look at; workers install nothing of it.
NOT_INSTALLED = {"submission_environment_dependencies.txt"}


def fetched(url: str, sha256: str) -> bytes:
    """A staged file, checked."""
    with FileSystems.open(url) as file:
        data: bytes = file.read()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{url} is another file than was staged: {found}, not {sha256}")
    return data


def run(job: dict) -> None:
    """Run one job to its end."""
    # A request knows no whole numbers in what the SDK passes through.
    given = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in job["options"].items()
    }
    options = PipelineOptions.from_dictionary(given)
    FileSystems.set_options(options)
    pipeline = beam_runner_api_pb2.Pipeline.FromString(
        fetched(job["pipeline"], job["options"]["pipelineProtoHash"])
    )
    for environment in pipeline.components.environments.values():
        for dependency in environment.dependencies:
            if dependency.type_urn != common_urns.artifact_types.URL.urn:
                raise ValueError(f"a worker cannot fetch {dependency.type_urn}")
            payload = beam_runner_api_pb2.ArtifactUrlPayload.FromString(dependency.type_payload)
            fetched(payload.url, payload.sha256)
            if (name := payload.url.rsplit("/", 1)[1]) not in NOT_INSTALLED:
                raise ValueError(f"{name} would be installed at the start of each worker")
        del environment.dependencies[:]
        environment.urn = python_urns.EMBEDDED_PYTHON
        environment.payload = b""
        if job["booted"]:
            environment.urn = python_urns.SUBPROCESS_SDK
            environment.payload = HARNESS.format(shlex.quote(json.dumps(given))).encode()
    FnApiRunner().run_via_runner_api(pipeline, options).wait_until_finish()


def main() -> None:
    """Run jobs until there are no more."""
    logging.basicConfig(level=logging.ERROR)
    answers, sys.stdout = sys.stdout, sys.stderr  # steps may print
    for line in sys.stdin:
        try:
            run(json.loads(line))
            answer = None
        except Exception:
            answer = traceback.format_exc()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
