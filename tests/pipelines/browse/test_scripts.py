"""Captions of every script are drawn: no sign of them is the box of a missing one."""

import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import browser as browser
from tests.pipelines.browse.serving import Visitor, served
from tests.pipelines.browse.test_foreign import write_table

CAPTIONS = {
    "en": "A red house", "ru": "Красный дом", "el": "Ένα κόκκινο σπίτι", "zh": "湖边的红房子 湖邊的紅房子",
    "ja": "みずうみの赤い家 ハウス", "ko": "호숫가의 빨간 집", "ar": "بيت أحمر على البحيرة", "he": "בית אדום",
    "fa": "خانه‌ی قرمز کنار دریاچه", "hi": "झील के किनारे लाल घर", "bn": "হ্রদের ধারে লাল বাড়ি",
    "ta": "ஏரியோரம் சிவப்பு வீடு", "te": "సరస్సు పక్కన ఎర్ర ఇల్లు", "kn": "ಕೆರೆಯ ಬಳಿ ಕೆಂಪು ಮನೆ",
    "ml": "തടാകക്കരയിലെ ചുവന്ന വീട്", "gu": "તળાવ પાસે લાલ ઘર", "pa": "ਝੀਲ ਕੋਲ ਲਾਲ ਘਰ",
    "si": "වැව අසල රතු ගෙය", "th": "บ้านสีแดงริมทะเลสาบ", "lo": "ເຮືອນສີແດງ", "my": "အိမ်နီ",
    "km": "ផ្ទះក្រហម", "ka": "წითელი სახლი", "hy": "Կարմիր տուն", "am": "ቀይ ቤት", "bo": "ཁང་པ་དམར་པོ",
    "vi": "Ngôi nhà đỏ bên hồ", "chr": "ᎩᎦᎨ ᎦᎵᏦᏕ",
}  # fmt: skip

MISSING = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  pen.canvas.width = pen.canvas.height = 48;
  function drawn(sign) {
    pen.clearRect(0, 0, 48, 48);
    pen.fillText(sign, 8, 36);
    return pen.getImageData(0, 0, 48, 48).data.join();
  }
  const lost = [];
  for (const one of document.querySelectorAll(".grid p")) {
    const style = getComputedStyle(one);
    pen.font = `28px ${style.fontFamily}`;
    const box = drawn("\\u0378");
    const signs = [...one.textContent].filter((sign) => !/\\s|\\p{M}|\\p{Cf}/u.test(sign));
    if (signs.some((sign) => drawn(sign) === box)) lost.push(one.lang);
  }
  return lost;
}"""
"""The languages of captions with a sign that is drawn as one that no font has."""


def _has_fonts() -> bool:
    told = shutil.which("fc-list") and all(
        subprocess.run(["fc-list", f":lang={code}"], capture_output=True, check=False).stdout
        for code in ("zh-cn", "bn", "am", "chr")
    )
    return bool(told)


def test_every_script_is_drawn(browser: Browser, tmp_path: Path) -> None:
    if not _has_fonts():
        pytest.skip("no fonts of all scripts: install fonts-noto-core and fonts-noto-cjk")
    rows = {"key": [f"{n:03d}" for n in range(len(CAPTIONS) + 1)],
            "caption": [*CAPTIONS.values(), "\u0530"], "language": [*CAPTIONS, "none"]}  # fmt: skip
    corpus = write_table(tmp_path / "in", rows)
    with served(corpus, tmp_path) as address:
        one = Visitor(browser, address)
        one.go("/samples")
        assert one.page.locator(".grid p").count() == len(rows["key"])
        assert one.page.evaluate(MISSING) == ["none"], "a sign that is none, and it alone"
        ways = one.page.locator(".grid p").evaluate_all(
            "(all) => all.map((p) => [p.lang, getComputedStyle(p).direction])"
        )
        assert {lang for lang, way in ways if way == "rtl"} == {"ar", "he", "fa"}
        assert one.complaints == one.outside == []
