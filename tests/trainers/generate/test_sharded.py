"""Writing with a module whose parameters are sharded."""

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from septet.trainers.generate.decoding import Decoding
from septet.trainers.generate.write import unsharded, write
from septet.trainers.nets.t5 import PAD
from septet.trainers.sharded import sharded_modules
from tests.trainers.generate.small import END, mt5, sources
from tests.trainers.ranks import run_ranks

BEFORE = torch.tensor([[PAD, 5, 9]] * 3)


@torch.no_grad()
def written_first() -> dict[str, list]:
    """What a module writes whole and sharded, and its states in a pass after that."""
    module, inputs = mt5(), sources(3)
    found = {"whole": write(module, inputs, Decoding(6), PAD, END, PAD).ids.tolist()}
    found["states"] = module(inputs["ids"], BEFORE).tolist()
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (1,))
    for part in (*module.encoder.blocks, *module.decoder.blocks, module):
        fully_shard(part, mesh=mesh)
    assert module in sharded_modules(module)
    for way in ("sharded", "again"):
        with unsharded(module):
            found[way] = write(module, inputs, Decoding(6), PAD, END, PAD).ids.tolist()
    found["after"] = module(inputs["ids"], BEFORE).tolist()
    dist.destroy_process_group()
    return found


def test_a_sharded_module_may_write_before_it_first_runs_forward():
    """As where a measure is taken before the first step: `encode` and `decode` begin a pass of the
    whole module, not of its blocks."""
    (found,) = run_ranks(1, written_first)
    assert found["sharded"] == found["again"] == found["whole"]
    torch.testing.assert_close(torch.tensor(found["after"]), torch.tensor(found["states"]))
