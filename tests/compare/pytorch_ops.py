#!/usr/bin/env python3
"""Caldera's operators against PyTorch's own, side by side in one run: on the CPU, or on a CUDA card.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0
    .venv/bin/python tests/compare/pytorch_ops.py --caldera target/release/caldera --length 1024 --threads 2 --json out/pytorch-ops.json
    .venv/bin/python tests/compare/pytorch_ops.py --device cuda --lengths 128 512 2048 8192 --json out/sdpa.json
    python3 tests/compare/pytorch_ops.py --crossover ops.json      # a report of `caldera bench ops --json`; needs no PyTorch

Sizes are those of `caldera bench ops --shapes pythia-160m`: 12 causal heads of 64, 1,536 inner channels, 16 states, batch 1. The
scan of PyTorch is the loop over positions that transformers runs without its CUDA kernels; the others are the
library's operators. The two programs take turns (round by round); the figure is the median over rounds of the ratio
caldera / PyTorch: below 1 Caldera is faster. Forward alone, and backward alone from a gradient of ones. PyTorch is no
dependency of the project.

On a card softmax attention alone is measured unless `--ops` says more, bidirectional (bert-base, the same heads) and causal, against
`caldera bench ops --device gpu`: f32 with TF32 off, timed by CUDA events around as many passes as fill 5 ms. Caldera's time is that
of the wall, with one read back for as many passes. SDPA is held to one backend: `efficient`, its only fused one in f32, which from
compute capability 8.0 on multiplies f32 in three TF32 products on tensor cores whatever the switch says, or `math`, plain products.
"""
import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from functools import partial

OPERATORS = ["selective_scan", "softmax_attention", "causal_conv1d"]
LINEAR = ["linear_attention", "linformer_attention", "selective_scan", "ssd"]
PASSES = ["forward", "backward"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--caldera", default="target/release/caldera")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--length", "--lengths", dest="lengths", type=int, nargs="+", default=[1024])
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--runs", type=int, default=5, help="timed runs of an operator in a round")
    p.add_argument("--ops", nargs="+", choices=OPERATORS, help="default: all on the CPU, softmax_attention on a card")
    p.add_argument("--sdpa", choices=["efficient", "math"], default="efficient", help="backend of attention on a card")
    p.add_argument("--json", help="where the figures go")
    p.add_argument("--crossover", metavar="FILE", help="only say from which length the linear operators of this report beat attention")
    a = p.parse_args()
    a.ops = a.ops or (OPERATORS if a.device == "cpu" else ["softmax_attention"])
    return a


def cases(a):
    """(model shape, operator) of everything that is measured."""
    causal = [("pythia-160m", name) for name in a.ops]
    return causal if a.device == "cpu" else [("bert-base", name) for name in a.ops if name == "softmax_attention"] + causal


def caldera(a):
    """Median milliseconds by (shape, operator, length, pass), and the device in words."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ops.json")
        command = [a.caldera, "bench", "ops", "--ops", ",".join(a.ops), "--shapes", ",".join(sorted({shape for shape, _ in cases(a)})),
                   "--lengths", ",".join(map(str, a.lengths)), "--batch", str(a.batch), "--runs", str(a.runs),
                   "--device", "cpu" if a.device == "cpu" else "gpu", "--reference-memory", "1", "--json", path]
        try:
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                  env={**os.environ, "RAYON_NUM_THREADS": str(a.threads)})
        except OSError as error:
            raise SystemExit(f"{a.caldera} does not start ({error}): build it with `cargo build --release`, or name it with --caldera")
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr.strip()}")
        with open(path) as file:
            report = json.load(file)
    if a.device == "cuda" and report["device"].startswith("software adapter"):
        raise SystemExit(f"caldera runs on a {report['device']}, not on the card: install the card's Vulkan driver")
    return {(p["shape"], p["operator"], p["length"], p["pass"]): p["median_ms"] for p in report["points"]}, report["device"]


def problem(a, shape, name, length):
    """A function of leaves, and the leaves."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    batch, heads, head_dim, inner, state = a.batch, 12, 64, 1536, 16
    leaf = lambda *shape: torch.randn(*shape, device=a.device, requires_grad=True)

    def scan(u, delta, a, b, c, d, z):
        dt = F.softplus(delta)
        decay = torch.exp(dt.unsqueeze(-1) * a)
        enter = dt.unsqueeze(-1) * b.unsqueeze(2) * u.unsqueeze(-1)
        h, ys = torch.zeros(batch, inner, state, device=u.device), []
        for t in range(length):
            h = decay[:, t] * h + enter[:, t]
            ys.append((h * c[:, t].unsqueeze(1)).sum(-1))
        return (torch.stack(ys, 1) + u * d) * F.silu(z)

    def conv(x, weight, bias):
        return F.silu(F.conv1d(x, weight, bias, padding=3, groups=inner)[..., :length])

    if name == "softmax_attention":
        attention = partial(F.scaled_dot_product_attention, is_causal=shape == "pythia-160m")
        return attention, [leaf(batch, heads, length, head_dim) for _ in range(3)]
    if name == "causal_conv1d":
        return conv, [leaf(batch, inner, length), leaf(inner, 1, 4), leaf(inner)]
    rates = (-torch.rand(inner, state, device=a.device) - 0.5).requires_grad_()
    return scan, [leaf(batch, length, inner), leaf(batch, length, inner), rates, leaf(batch, length, state),
                  leaf(batch, length, state), leaf(inner), leaf(batch, length, inner)]


def timed(device, calls):
    """Milliseconds of one of `calls`: on a card between two events, on the CPU by the clock."""
    import torch

    if device == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for call in calls:
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / len(calls)
    start = time.perf_counter()
    for call in calls:
        call()
    return 1e3 * (time.perf_counter() - start) / len(calls)


def repeats(device, call):
    """Passes between two readings of the clock: one on the CPU, on a card as many as fill 5 ms, at most 256, as in `caldera bench ops`."""
    if device == "cpu":
        return 1
    timed(device, [call])
    return min(256, max(1, math.ceil(5 / timed(device, [call]))))


def medians(a, function, leaves):
    """Median milliseconds of the forward and of the backward pass."""
    import torch

    @torch.no_grad()
    def pass_forward():
        function(*leaves)

    count = repeats(a.device, pass_forward)
    forward, backward = [], []
    for _ in range(a.runs + 1):
        forward.append(timed(a.device, [pass_forward] * count))
        ys = [function(*leaves) for _ in range(count)]
        upstream = torch.ones_like(ys[0])
        backward.append(timed(a.device, [partial(torch.autograd.grad, y, leaves, upstream) for y in ys]))
    # The first of each warms up.
    return statistics.median(forward[1:]), statistics.median(backward[1:])


def pytorch(a):
    """Median milliseconds by (shape, operator, length, pass); without the lengths that the card has no memory for."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    torch.set_num_threads(a.threads)
    backend = contextlib.nullcontext
    if a.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        backend = partial(sdpa_kernel, SDPBackend.EFFICIENT_ATTENTION if a.sdpa == "efficient" else SDPBackend.MATH)
    found = {}
    for length in a.lengths:
        for shape, name in cases(a):
            try:
                with backend():
                    times = medians(a, *problem(a, shape, name, length))
            except torch.OutOfMemoryError:
                continue
            for kind, ms in zip(PASSES, times):
                found[shape, name, length, kind] = ms
    if a.device == "cuda":
        # The card's memory is Caldera's in its turn.
        torch.cuda.empty_cache()
    return found


def compare(a):
    """Prints, and keeps, the ratios."""
    import torch

    about = {"device": a.device, "batch": a.batch, "threads": a.threads, "rounds": a.rounds, "torch": torch.__version__}
    if a.device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit(f"--device cuda: PyTorch {torch.__version__} finds no CUDA device; use a build for CUDA on a machine with a card, or --device cpu")
        about |= {"card": torch.cuda.get_device_name(), "sdpa": a.sdpa}
        print(f"PyTorch {torch.__version__} on {about['card']}, f32, TF32 off, SDPA backend {a.sdpa}", flush=True)
    rounds = []
    for _ in range(a.rounds):
        ours, about["caldera_device"] = caldera(a)
        rounds.append((ours, pytorch(a)))
    if a.device == "cuda":
        print(f"Caldera on {about['caldera_device']}", flush=True)
    rows = []
    for shape, name in cases(a):
        for length in a.lengths:
            for kind in PASSES:
                key = (shape, name, length, kind)
                pairs = [(ours[key], theirs[key]) for ours, theirs in rounds if key in ours and key in theirs]
                if not pairs:
                    who = "`caldera bench ops`" if key not in rounds[0][0] else "PyTorch, which has no memory for it"
                    print(f"{name} {shape} {length} {kind}: not among the figures of {who}")
                    continue
                ratios = [x / y for x, y in pairs]
                rows.append({"operator": name, "shape": shape, "length": length, "pass": kind,
                             "caldera_ms": statistics.median(x for x, _ in pairs), "pytorch_ms": statistics.median(y for _, y in pairs),
                             "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)})
                print("{operator:18} {shape:12} {length:6} {pass:8} caldera {caldera_ms:9.2f} ms  pytorch {pytorch_ms:9.2f} ms  ratio {ratio:.2f} ({least:.2f} to {most:.2f})"
                      .format(**rows[-1]), flush=True)
    if a.json:
        with open(a.json, "w") as file:
            json.dump({**about, "rows": rows}, file, indent=1)


def crossover(path):
    """Prints from which length on each linear operator's median lies below that of softmax attention in the same report."""
    try:
        with open(path) as file:
            report = json.load(file)
        about, times = f"{report['device']}, batch {report['batch']}", {}
        for p in report["points"]:
            times.setdefault((p["operator"], p["shape"], p["pass"]), {})[p["length"]] = p["median_ms"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: expected a report of `caldera bench ops --json` ({type(error).__name__}: {error})")
    print(about)
    printed = False
    for (name, shape, kind), ours in times.items():
        theirs = times.get(("softmax_attention", shape, kind), {})
        lengths = sorted(ours.keys() & theirs.keys())
        if name not in LINEAR or not lengths:
            continue
        printed = True
        least = None
        for length in reversed(lengths):
            if ours[length] >= theirs[length]:
                break
            least = length
        share = lambda length: f"{ours[length] / theirs[length]:.2f} of its time at {length}"
        if least is None:
            said = f"not up to {lengths[-1]}: {share(lengths[-1])}"
        else:
            shortest = ", the shortest measured" if least == lengths[0] else ""
            said = f"from {least} on{shortest}: " + ", ".join(share(length) for length in dict.fromkeys([least, lengths[-1]]))
        print(f"{name:20} {shape:14} {kind:8} below softmax_attention {said}")
    if not printed:
        raise SystemExit(f"{path}: nothing to compare; it takes softmax_attention and one of {', '.join(LINEAR)} at the same shape and length")


def main():
    a = arguments()
    if a.crossover:
        crossover(a.crossover)
    else:
        compare(a)


if __name__ == "__main__":
    main()
