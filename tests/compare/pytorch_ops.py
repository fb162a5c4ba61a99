#!/usr/bin/env python3
"""Caldera's CPU operators against PyTorch's own on the CPU, side by side in one run.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0
    .venv/bin/python tests/compare/pytorch_ops.py --caldera target/release/caldera --length 1024 --threads 2 --json out/pytorch-ops.json

Sizes are those of `caldera bench ops --shapes pythia-160m`: 12 causal heads of 64, 1,536 inner channels, 16 states, batch 1. The
scan of PyTorch is the loop over positions that transformers runs without its CUDA kernels; the others are the
library's operators. The two programs take turns (round by round); the figure is the median over rounds of the ratio
caldera / PyTorch: below 1 Caldera is faster. Forward alone, and backward alone from a gradient of ones. PyTorch is no
dependency of the project.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

OPERATORS = ["selective_scan", "softmax_attention", "causal_conv1d"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--caldera", default="target/release/caldera")
    p.add_argument("--length", type=int, default=1024)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--runs", type=int, default=5, help="timed runs of an operator in a round")
    p.add_argument("--ops", nargs="*", default=OPERATORS)
    p.add_argument("--json", help="where the figures go")
    return p.parse_args()


def caldera(a):
    """Median milliseconds by (operator, pass)."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ops.json")
        command = [a.caldera, "bench", "ops", "--ops", ",".join(a.ops), "--shapes", "pythia-160m", "--lengths", str(a.length),
                   "--runs", str(a.runs), "--device", "cpu", "--reference-memory", "1", "--json", path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={**os.environ, "RAYON_NUM_THREADS": str(a.threads)})
        with open(path) as file:
            points = json.load(file)["points"]
    return {(p["operator"], p["pass"]): p["median_ms"] for p in points}


def problems(length):
    """A function of leaves, and the leaves, by operator."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    heads, head_dim, inner, state = 12, 64, 1536, 16
    leaf = lambda *shape: torch.randn(*shape, requires_grad=True)

    def scan(u, delta, a, b, c, d, z):
        dt = F.softplus(delta)
        decay = torch.exp(dt.unsqueeze(-1) * a)
        enter = dt.unsqueeze(-1) * b.unsqueeze(2) * u.unsqueeze(-1)
        h, ys = torch.zeros(1, inner, state), []
        for t in range(length):
            h = decay[:, t] * h + enter[:, t]
            ys.append((h * c[:, t].unsqueeze(1)).sum(-1))
        return (torch.stack(ys, 1) + u * d) * F.silu(z)

    def conv(x, weight, bias):
        return F.silu(F.conv1d(x, weight, bias, padding=3, groups=inner)[..., :length])

    qkv = [leaf(1, heads, length, head_dim) for _ in range(3)]
    rates = (-torch.rand(inner, state) - 0.5).requires_grad_()
    return {
        "selective_scan": (scan, [leaf(1, length, inner), leaf(1, length, inner), rates, leaf(1, length, state),
                                  leaf(1, length, state), leaf(inner), leaf(1, length, inner)]),
        "softmax_attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), qkv),
        "causal_conv1d": (conv, [leaf(1, inner, length), leaf(inner, 1, 4), leaf(inner)]),
    }


def pytorch(a, given):
    """Median milliseconds by (operator, pass)."""
    import torch

    torch.set_num_threads(a.threads)
    found = {}
    for name in a.ops:
        function, leaves = given[name]
        forward, backward = [], []
        for run in range(a.runs + 1):
            start = time.perf_counter()
            with torch.no_grad():
                y = function(*leaves)
            forward.append(time.perf_counter() - start)
            y = function(*leaves)
            upstream = torch.ones_like(y)
            start = time.perf_counter()
            torch.autograd.grad(y, leaves, upstream)
            backward.append(time.perf_counter() - start)
        # The first of each warms up.
        found[name, "forward"] = 1e3 * statistics.median(forward[1:])
        found[name, "backward"] = 1e3 * statistics.median(backward[1:])
    return found


def main():
    a = arguments()
    given = problems(a.length)
    rounds = [(caldera(a), pytorch(a, given)) for _ in range(a.rounds)]
    rows = []
    for name in a.ops:
        for kind in ["forward", "backward"]:
            pairs = [(ours[name, kind], theirs[name, kind]) for ours, theirs in rounds if (name, kind) in ours]
            if not pairs:
                print(f"{name} {kind}: not among the figures of `caldera bench ops` at this shape and length")
                continue
            ratios = [x / y for x, y in pairs]
            rows.append({"operator": name, "pass": kind, "caldera_ms": statistics.median(x for x, _ in pairs),
                         "pytorch_ms": statistics.median(y for _, y in pairs), "ratio": statistics.median(ratios),
                         "least": min(ratios), "most": max(ratios)})
            print("{operator:18} {pass:8} caldera {caldera_ms:9.2f} ms  pytorch {pytorch_ms:9.2f} ms  ratio {ratio:.2f} ({least:.2f} to {most:.2f})"
                  .format(**rows[-1]), flush=True)
    if a.json:
        with open(a.json, "w") as file:
            json.dump({"length": a.length, "threads": a.threads, "rounds": a.rounds, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
