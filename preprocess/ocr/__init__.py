"""Text that images show: lines with boxes in reading order (`lines`), and engines that find them
(`engines`, `rapid`)."""
