"""The manifests for Kubernetes, held against the models that Kubeflow generates from the published
OpenAPI descriptions: of JobSet v1alpha2, and of Kubernetes' own Job and pods within it."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from kubeflow_trainer_api.models.io_k8s_api_batch_v1_job import IoK8sApiBatchV1Job
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet
from pydantic import ValidationError

from septet.pipelines.cli import LazyGroup

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"train.yaml": JobsetV1alpha2JobSet, "build.yaml": IoK8sApiBatchV1Job}
"""Each knows its fields and their types; one that it does not know is lost on the way."""


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "infra/kubernetes" / name).read_text())


def pod_of(found: dict[str, Any]) -> dict[str, Any]:
    jobs = found["spec"].get("replicatedJobs")
    return (jobs[0]["template"]["spec"] if jobs else found["spec"])["template"]["spec"]


@pytest.mark.parametrize("name", MODELS)
def test_a_manifest_has_only_what_the_schema_knows(name: str) -> None:
    found = manifest(name)
    assert MODELS[name].from_dict(found).to_dict() == found


@pytest.mark.parametrize("name", MODELS)
def test_the_schema_refuses_what_is_wrong(name: str) -> None:
    wrong = copy.deepcopy(manifest(name))
    pod_of(wrong)["terminationGracePeriodSecond"] = 660
    assert MODELS[name].from_dict(wrong).to_dict() != wrong
    wrong = copy.deepcopy(manifest(name))
    pod_of(wrong)["terminationGracePeriodSeconds"] = "660"
    with pytest.raises(ValidationError, match="terminationGracePeriodSeconds"):
        MODELS[name].from_dict(wrong)


def test_a_run_finds_its_machines_and_has_the_time_to_save() -> None:
    found = manifest("train.yaml")
    (job,) = found["spec"]["replicatedJobs"]
    pod = pod_of(found)
    (container,) = pod["containers"]
    given = {one["name"]: one for one in container["env"]}
    machines = int(given["NODES"]["value"])
    assert machines == job["template"]["spec"]["completions"]
    assert machines == job["template"]["spec"]["parallelism"] and machines > 1
    first = f"{found['metadata']['name']}-{job['name']}-0-0.{found['spec']['network']['subdomain']}"
    assert given["MASTER"]["value"] == f"{first}:29500"

    launch = (ROOT / "infra/train/launch.sh").read_text()
    known = set(re.findall(r"^([A-Z_]+) +\w", launch, re.MULTILINE))
    assert {*given} - {"SEPTET_LOG"} <= known
    (save_time,) = re.findall(r"SAVE_TIME:-(\d+)", launch)
    assert pod["terminationGracePeriodSeconds"] > int(save_time)
    assert container["command"] == ["infra/train/launch.sh"]
    assert "infra/train/launch.sh" in (ROOT / "infra/train/Containerfile").read_text()


@pytest.mark.parametrize("name,command", [("train.yaml", "train"), ("build.yaml", "build")])
def test_the_command_takes_what_it_is_given(name: str, command: str) -> None:
    container = pod_of(manifest(name))["containers"][0]
    words = (
        container["args"] if command == "train" else [*container["command"][2:], *container["args"]]
    )
    group = LazyGroup(name="septet")
    found = group.get_command(typer.Context(group), command)
    given = found.make_context(command, list(words)).params
    assert given["out"].startswith("s3://")
    ports = {one["name"]: one["containerPort"] for one in container.get("ports", [])}
    if command == "train":
        assert given["prometheus"] == f"0.0.0.0:{ports['metrics']}" and given["model"] == "clip"
    else:
        assert given["workers"] == 16
