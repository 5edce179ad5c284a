"""How well a model tells colour words that only the picture can tell."""

from collections import Counter

import numpy as np
import torch
from torch import nn

from preprocess.scenes import COLOURS
from preprocess.shards.reader import Corpus
from trainers.beit3.samples import tokenizer
from trainers.beit3.task import Beit3Task
from trainers.evaluate import _rows
from trainers.loader.source import stack
from trainers.task import Batch


def colours_told(task: Beit3Task, module: nn.Module, corpus: Corpus) -> dict[str, float]:
    """Every colour word of a caption is masked, and nothing else; so the text alone can not tell.

    Returns:
        Shares of those words: told `right` with the scene's picture, with the picture of another
        scene (`wrong`), and by always saying the commonest (`chance`).
    """
    s = task.settings
    pieces = tokenizer(s.vocabulary, s.words)
    colours = {colour: pieces.encode(colour) for colour in COLOURS}
    assert all(len(ids) == 1 for ids in colours.values()), "a colour is one piece"
    wanted = [ids[0] for ids in colours.values()]
    rows = []
    for row in _rows(task, "pairs", corpus, len(corpus)):
        places = np.isin(row["ids"], wanted)
        masked = np.where(places, pieces.mask, row["ids"])
        nothing = np.zeros(s.grid**2, np.bool_)
        rows.append({**row, "ids_masked": masked, "word_places": places, "patch_mask": nothing})
    data = {name: torch.from_numpy(x) for name, x in stack(rows).items()}
    expected = data["ids"][data["word_places"]]
    found = {"chance": Counter(expected.tolist()).most_common(1)[0][1] / len(expected)}
    module.eval()
    with torch.no_grad():
        for name, pixels in (("right", data["pixels"]), ("wrong", data["pixels"].roll(1, 0))):
            scores = task.forward(module, Batch("pairs", {**data, "pixels": pixels}))["mvlm_text"]
            found[name] = float((scores.argmax(1) == expected).double().mean())
    return found
