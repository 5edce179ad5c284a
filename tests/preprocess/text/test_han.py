import pyarrow as pa
import pytest

from septet.preprocess.text.han import BOTH, SCRIPTS, chinese_scripts, forms

PAIRS = [  # Equal texts in both forms: names of the demo's places and things, and common words.
    ("国家图书馆的书", "國家圖書館的書"),
    ("这个红色圆形在绿色正方形的左边", "這個紅色圓形在綠色正方形的左邊"),
    ("台湾风景照片", "臺灣風景照片"),
    ("汉语简体字和繁体字", "漢語簡體字和繁體字"),
    ("电脑软件与网络", "電腦軟件與網絡"),
    ("学习历史", "學習歷史"),
]


@pytest.mark.parametrize("simplified,traditional", PAIRS)
def test_both_forms_of_a_text_are_told(simplified, traditional):
    found = chinese_scripts(pa.chunked_array([[simplified, traditional, simplified + traditional]]))
    assert found.to_pylist() == ["simplified", "traditional", "mixed"]


def test_what_is_written_alike_in_both_says_nothing():
    texts = ["小大人山水", "中文 2.0", "青蛙", "", None]
    found = chinese_scripts(pa.chunked_array([texts]))
    assert found.to_pylist() == ["either"] * 4 + [None]
    assert set(SCRIPTS) == {"simplified", "traditional", "mixed", "either"}


def test_no_character_is_of_both_forms_alone():
    simplified, traditional = forms()
    assert not set(simplified) & set(traditional)
    assert 2000 < len(simplified) < 3000 and len(traditional) > 5000
    assert {"国", "这", "图"} < set(simplified) and {"國", "這", "圖"} < set(traditional)
    assert not {"的", "人", "中"} & (set(simplified) | set(traditional))


ALIKE = [  # Texts in one form with characters that only the other form's set has.
    ("她戴着温暖的圍巾", "traditional"),
    ("住户卧室裏的書", "traditional"),
    ("这踪影潜入、激荡", "simplified"),
    ("潜水員在搖荡的船上尋找踪影", "traditional"),
    ("囧脸的图标", "simplified"),
    ("王玥和珺珺、昇平、燊、垚、瑀、翀的合影，囍字红灯笼", "simplified"),
    ("窸窣的树叶", "simplified"),
    ("着户温卧荡潜踪囧玥珺昇燊垚瑀翀囍", "either"),
    ("乾後於徵夥摺藉", "either"),
]


@pytest.mark.parametrize("text,script", ALIKE)
def test_what_is_written_in_both_forms_says_nothing_whatever_set_has_it(text, script):
    assert chinese_scripts(pa.chunked_array([[text]])).to_pylist() == [script]


def test_each_character_of_both_forms_is_in_one_set_alone_and_stands_once():
    def within(letter, encoding):
        return bool(letter.encode(encoding, "ignore"))

    assert all(within(letter, "gb2312") != within(letter, "big5") for letter in BOTH)
    assert len(set(BOTH)) == len(BOTH)
