"""Peak memory and time of the loss over 250,112 words x 1,024 tokens, whole and in chunks.

    python -m benchmarks.token_loss [--width 512] [--words 250112] [--tokens 1024]

Each way runs in a process of its own: forward and backward of states and head, fp32. Its memory is
the process's peak over what it held before (Linux's VmHWM, pages of files left out where the kernel
tells them), without states, head and their gradients, which both need.
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from septet.trainers.nets.losses import token_loss

MIB = 2**20


def held(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    with Path("/proc/self/status").open() as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def measure(way: str, words: int, tokens: int, width: int, results: Any) -> None:
    """One forward and backward pass; (MiB beside inputs and gradients, seconds, loss)."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    hidden = torch.randn(tokens, width).requires_grad_()
    head = (torch.randn(words, width) / width**0.5).requires_grad_()
    labels = torch.randint(words, (tokens,))
    token_loss(hidden[:1], head[:9], labels[:1] % 9).cross_entropy.backward()
    hidden.grad = head.grad = None
    before = held("VmRSS")
    began = time.perf_counter()
    if way == "whole":
        loss = F.cross_entropy(hidden @ head.T, labels, label_smoothing=0.1, reduction="sum")
    else:
        loss = token_loss(hidden, head, labels, smoothing=0.1 * (words - 1) / words).cross_entropy
    loss.backward()
    seconds = time.perf_counter() - began
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gradients = 4 * (hidden.numel() + head.numel())
    results.put(((peak - before - gradients) / MIB, seconds, float(loss.detach())))


def main() -> None:
    """Print both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=250_112)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--width", type=int, default=512)
    sizes = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    found = {}
    for way in ("whole", "chunks"):
        results = context.Queue()
        arguments = (way, sizes.words, sizes.tokens, sizes.width, results)
        process = context.Process(target=measure, args=arguments)
        process.start()
        found[way] = results.get()
        process.join()
        memory, seconds, loss = found[way]
        print(f"{way:>6}  {memory:8,.0f} MiB beside gradients  {seconds:6.2f} s  loss {loss:.4f}")
    (whole, slow, _), (chunks, fast, _) = found["whole"], found["chunks"]
    print(f"ratio token_loss_memory {whole / chunks:.1f}")
    print(f"ratio token_loss_time {slow / fast:.2f}")


if __name__ == "__main__":
    main()
