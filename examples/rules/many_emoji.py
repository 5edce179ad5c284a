"""A rule of your own: captions with many emoji. A recipe asks for it by its entry point
(`pip install examples/rules`), or as `many_emoji:ManyEmoji` where this folder is on PYTHONPATH:

filter:
  own_rules:
    - {rule: many-emoji, settings: {most: 1}}
"""

import pyarrow.compute as pc
from pydantic import Field

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.own import OwnRule
from septet.preprocess.rules.rule import Verdict


class ManyEmoji(OwnRule):
    """Captions of more emoji than `most`."""

    most: int = Field(default=3, ge=0, description="Most emoji of a caption.")

    def judge(self, captions: Captions) -> Verdict:
        """Count the characters of two blocks of Unicode."""
        count = pc.count_substring_regex(captions.text, r"[\x{1F300}-\x{1FAFF}\x{2600}-\x{27BF}]")
        return Verdict(pc.greater(count, self.most), count)
