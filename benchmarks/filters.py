"""Text rules on captions: Septet's beside data-juicer's, and Septet's default set alone.

    python -m benchmarks.filters [--quick]

Both judge the same captions in memory, a tenth of them not English, by the same four rules and
thresholds: characters (5 to 1,000), words (2 to 256), letters (data-juicer: at most 0.4 special
characters), repetition of pieces of ten characters (at most 0.2). data-juicer's operators are
called directly, batch by batch, each on what the one before it kept, without the tables around
them; Septet's rules make masks, filter the Arrow table and make rejects with reason and value.
Captions on which the two differ are counted. CPU time of one thread, in turns; the ratio is the
median of the rounds' ratios. Then the default set without language identification, in captions a
second, where none, a tenth and all of the captions are not English.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from benchmarks.in_turns import show_rates, show_ratio
from septet.preprocess.rules.apply import asked_rules, pass_quick_rules
from septet.preprocess.rules.tally import Tally
from septet.schemas import tables
from septet.schemas.filter import Filter

PEER = Path(".venv/peers/data-juicer/bin/python")
SAME = Filter(
    min_chars=5, min_chars_compact=5, min_chars_unspaced=5, max_chars=1000,
    min_words=2, min_words_compact=2, max_words=256,
    min_letters=0.6, max_char_repetition=0.2, drop_filenames=False, drop_urls=False,
)  # fmt: skip
_BATCH = 8192
_ENGLISH = """
a the red bicycle leaning against brick wall number of photo in man woman standing street old town
hall beautiful view landscape mountain river with and on Canon EOS 5D Photograph 2019 London,
England. Stock image dog running across green field during sunset, summer 2021 | buy now: vintage
poster (A3)
"""
_OTHERS = """
eine alte Brücke über den Fluss großer Garten кот сидит на окне старый город 窗外的雪山和湖泊
一只猫坐在红色的椅子上 مدينة قديمة 오래된 도시의 풍경 मंदिर का दृश्य
"""
_JUNK = (
    "IMG_2041.JPG", "logo", "***!!!***", "1234-5678-90 12:30", "buy now buy now buy now buy now",
    "https://example.org/a.jpg", "photo", "-",
)  # fmt: skip

_PEER = """
import json, sys, time
from pathlib import Path
from loguru import logger
logger.remove()
from data_juicer.ops.filter.character_repetition_filter import CharacterRepetitionFilter
from data_juicer.ops.filter.special_characters_filter import SpecialCharactersFilter
from data_juicer.ops.filter.text_length_filter import TextLengthFilter
from data_juicer.ops.filter.words_num_filter import WordsNumFilter
from data_juicer.utils.constant import Fields
captions = json.loads(Path(sys.argv[1]).read_text())
operators = [
    TextLengthFilter(min_len=5, max_len=1000), WordsNumFilter(min_num=2, max_num=256),
    SpecialCharactersFilter(min_ratio=0.0, max_ratio=0.4),
    CharacterRepetitionFilter(rep_len=10, min_ratio=0.0, max_ratio=0.2),
]
for line in sys.stdin:
    start = time.process_time()
    kept = []
    for at in range(0, len(captions), 1000):
        numbers = range(at, min(at + 1000, len(captions)))
        texts = captions[at : at + 1000]
        for operator in operators:
            samples = {"text": texts, Fields.stats: [{} for _ in texts]}
            keep = list(operator.process_batched(operator.compute_stats_batched(samples)))
            texts = [text for text, stays in zip(texts, keep) if stays]
            numbers = [number for number, stays in zip(numbers, keep) if stays]
        kept += numbers
    seconds = time.process_time() - start
    print(json.dumps({"seconds": seconds, "kept": kept}), flush=True)
"""


def make_captions(count: int, others: float) -> list[str]:
    """Captions of 4 to 16 words, one in twenty of them junk.

    Args:
        count: Their number.
        others: Share of the captions that are not of English words.
    """
    draw = random.Random(0)
    english, foreign = _ENGLISH.split(), _OTHERS.split()

    def caption() -> str:
        if draw.random() < 0.05:
            return draw.choice(_JUNK)
        words = foreign if draw.random() < others else english
        return " ".join(draw.choices(words, k=draw.randint(4, 16)))

    return [caption() for _ in range(count)]


def batches_of(captions: list[str]) -> list[pa.Table]:
    """Tables of candidates as the stage filter reads them."""
    count = len(captions)
    columns = {field.name: pa.nulls(count, field.type) for field in tables.CANDIDATES}
    columns |= {
        "id": pa.array([f"{number:032x}" for number in range(count)]),
        "caption": pa.array(captions),
        "source": pa.array(["list.jsonl"] * count),
        "image_url": pa.array([f"https://cdn.example.org/{n}.jpg" for n in range(count)]),
        "page_url": pa.array([f"https://www.example.org/{n // 7}" for n in range(count)]),
        "page_language": pa.array(["en"] * count),
    }
    whole = pa.table(columns, schema=tables.CANDIDATES)
    return [whole.slice(start, _BATCH) for start in range(0, count, _BATCH)]


def run_septet(batches: list[pa.Table], settings: Filter) -> tuple[float, list[int]]:
    """CPU seconds of the rules that are not slow, and the numbers of the captions that pass."""
    rules = asked_rules(settings)
    start = time.process_time()
    passed = [pass_quick_rules(batch, rules, Tally())[0] for batch in batches]
    seconds = time.process_time() - start
    return seconds, [int(one, 16) for table in passed for one in table["id"].to_pylist()]


def beside_peer(captions: list[str], rounds: int) -> None:
    """Print the rates of both, how far they agree, and the ratio."""
    batches = batches_of(captions)
    rates: dict[str, list[float]] = {"Septet": [], "data-juicer": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.json"
        path.write_text(json.dumps(captions))
        with subprocess.Popen(
            [str(PEER), "-c", _PEER, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        ) as peer:  # fmt: skip
            assert peer.stdin and peer.stdout
            for _ in range(rounds):
                seconds, ours = run_septet(batches, SAME)
                rates["Septet"].append(len(captions) / seconds)
                peer.stdin.write("go\n")
                peer.stdin.flush()
                line = peer.stdout.readline()
                if not line:
                    raise SystemExit("data-juicer ended early: `make peers`, then run it by hand")
                found = json.loads(line)
                rates["data-juicer"].append(len(captions) / found["seconds"])
            peer.stdin.close()
    differ = len(set(ours) ^ set(found["kept"]))
    print(f"{len(captions):,} captions; Septet keeps {len(ours):,}, data-juicer "
          f"{len(found['kept']):,}; they differ on {differ:,}")  # fmt: skip
    show_rates("captions a second", rates)
    show_ratio("filters_vs_datajuicer", rates["Septet"], rates["data-juicer"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the captions")
    quick = parser.parse_args().quick
    pa.set_cpu_count(1)
    run_septet(batches_of(make_captions(1000, 0.5)), SAME)  # tables of characters
    if PEER.exists():
        beside_peer(make_captions(10_000 if quick else 100_000, 0.1), 3 if quick else 7)
    else:
        print("data-juicer is not installed: `make peers`")
    rates = {}
    for others in (0.0, 0.1, 1.0):
        captions = make_captions(50_000 if quick else 300_000, others)
        batches = batches_of(captions)
        rates[f"{others:.0%} not English"] = [
            len(captions) / run_septet(batches, Filter())[0] for _ in range(3 if quick else 7)
        ]
    show_rates("default, captions a second", rates)
    print(f"captions_per_second {statistics.median(rates['10% not English']):,.0f}")


if __name__ == "__main__":
    main()
