import json

import pytest
import torch

from septet.trainers.m6.presets import PRESETS
from septet.trainers.m6.task import M6Task
from tests.trainers.m6.small import ONLINE, SMALL, module

PLAIN = SMALL.model_copy(update={"codes": 0, "mixture": {"captioning": 1.0}})


def test_weights_are_written_and_read_back_to_the_bit(tmp_path):
    mine = module(ONLINE)
    task = M6Task(ONLINE, 2)
    config, path = task.export(mine.state_dict(), tmp_path, "septet")
    told = json.loads(config.read_text())
    assert told.pop("model_type") == "m6" and type(ONLINE).model_validate(told) == ONLINE
    found = task.initial(path)
    assert found.form == "septet" and not found.lacking and not found.unread
    assert found.weights.keys() == mine.state_dict().keys()
    assert all(torch.equal(x, found.weights[name]) for name, x in mine.state_dict().items())


def test_a_model_that_reads_a_column_leaves_the_resnet(tmp_path):
    s = SMALL.model_copy(update={"features": 32})
    _, path = M6Task(ONLINE, 2).export(module(ONLINE).state_dict(), tmp_path, "septet")
    found = M6Task(s, 2).initial(path)
    assert found.unread and all(name.startswith("embedding.resnet.") for name in found.unread)
    assert not found.lacking
    _, path = M6Task(s, 2).export(module(s).state_dict(), tmp_path, "septet")
    found = M6Task(ONLINE, 2).initial(path)
    assert found.lacking and all(name.startswith("embedding.resnet.") for name in found.lacking)


def test_image_codes_are_rows_behind_those_of_the_words(tmp_path):
    mine = module(PLAIN)
    found = M6Task(SMALL, 2).from_stage(mine.state_dict())
    for name in ("embedding.words.weight", "bias"):
        own = mine.state_dict()[name]
        assert len(found[name]) == 338 and torch.equal(found[name][:330], own)
    assert found["embedding.words.weight"][330:].std() < 0.05 and not found["bias"][330:].any()
    M6Task(SMALL, 2).build().load_state_dict(found)


def test_starts_from_torchvisions_resnet(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "resnet50.pth")
    task = PRESETS["online"].task()
    found = task.initial(tmp_path / "resnet50.pth")
    assert found.form == "ResNet" and set(found.unread) == {"fc.weight", "fc.bias"}
    assert all(name.startswith("embedding.resnet.") for name in found.weights)
    assert not [name for name in found.lacking if name.startswith("embedding.resnet.")]
    with pytest.raises(ValueError, match=r"this M6 has no ResNet.*take preset online"):
        PRESETS["base"].task().initial(tmp_path / "resnet50.pth")
