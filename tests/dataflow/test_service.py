"""What the stand-in of the jobs API refuses: whatever is not in the discovery document."""

import json

import pytest

from tests.dataflow.service import Service

JOBS = "/v1b3/projects/a-project/locations/europe-west4/jobs"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"workers": 3}, "('workers' was unexpected)"),
        ({"environment": {"workerPools": [{"machine": "n2"}]}}, "('machine' was unexpected)"),
        ({"environment": {"workerPools": [{"numWorkers": "3"}]}}, "is not of type 'integer'"),
        ({"type": "JOB_TYPE_BULK"}, "'JOB_TYPE_BULK'"),
        ({"name": "Septet_write"}, "job.name: 'Septet_write'"),
        ({"labels": {"team": 3}}, "3 is not of type 'string'"),
        ({"labels": {"Team": "vision"}}, "job.labels: 'Team'"),
    ],
)
def test_a_job_that_the_service_does_not_know(changed: dict, message: str) -> None:
    job = {"name": "septet-write", "type": "JOB_TYPE_BATCH"}
    with Service(lambda _: None) as service:
        status, _ = service.answer("POST", JOBS, json.dumps(job).encode())
        assert status == 200 and len(service.jobs) == 1
        status, answer = service.answer("POST", JOBS, json.dumps(job | changed).encode())
        assert status == 400 and message in answer["error"]["message"], answer
        assert len(service.jobs) == 1


def test_methods_and_parameters_that_the_service_does_not_know() -> None:
    with Service(lambda _: None) as service:
        status, _ = service.answer("POST", JOBS + "?pageLength=3", b"{}")
        assert status == 400
        assert service.answer("POST", JOBS.replace("v1b3", "v1"), b"{}")[0] == 400
    assert "no parameter pageLength" in service.refused[0]
    assert "no method POST /v1/" in service.refused[1]
