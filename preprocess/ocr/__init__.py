"""OCR, text in images: lines with boxes in reading order (`lines`), and engines that find them
(`engines`, `rapid`)."""
