"""How well a model tells colour words that only the image can tell."""

from collections import Counter

import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus
from septet.preprocess.synthetic.scenes import COLOURS
from septet.trainers.beit3.samples import tokenizer
from septet.trainers.beit3.task import Beit3Task
from septet.trainers.measures.parts import parts
from septet.trainers.task import Batch


def colours_told(task: Beit3Task, module: nn.Module, corpus: Corpus) -> dict[str, float]:
    """Every colour word of a caption is masked, and nothing else; so the text alone can not tell.

    Returns:
        Shares of those words: told `right` with the scene's image, with the image of another
        scene (`wrong`), and by always saying the commonest (`chance`).
    """
    s = task.settings
    pieces = tokenizer(s.vocabulary, s.words)
    colours = {colour: pieces.encode(colour) for colour in COLOURS}
    assert all(len(ids) == 1 for ids in colours.values()), "a colour is one piece"
    wanted = [ids[0] for ids in colours.values()]
    (part,) = parts(task, "pairs", corpus, len(corpus), len(corpus))
    data = part.batch.data
    places = torch.isin(data["ids"], torch.tensor(wanted))
    data |= {
        "ids_masked": data["ids"].where(~places, pieces.mask),
        "word_places": places,
        "patch_mask": torch.zeros(len(places), s.grid**2, dtype=torch.bool),
    }
    expected = data["ids"][data["word_places"]]
    found = {"chance": Counter(expected.tolist()).most_common(1)[0][1] / len(expected)}
    module.eval()
    with torch.no_grad():
        for name, pixels in (("right", data["pixels"]), ("wrong", data["pixels"].roll(1, 0))):
            scores = task.forward(module, Batch("pairs", {**data, "pixels": pixels}))["mvlm_text"]
            found[name] = float((scores.argmax(1) == expected).double().mean())
    return found
