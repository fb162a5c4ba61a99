#!/usr/bin/env python3
"""Caldera against PyTorch eager on the CPU: one training step and one forward pass of the same BERT, side by side in one run.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0 transformers==4.57.6
    .venv/bin/python tests/compare/pytorch_step.py --model DIR --caldera target/release/caldera \
        --batch 32 --length 64 --threads 2 --rounds 5 --steps 4 --json out/pytorch-step.json

The two programs take turns (round by round), so that a machine whose speed drifts slows both alike; the figure is the
median over rounds of the ratio caldera / PyTorch. A training step is forward, cross entropy, backward, clipping to norm 1
and AdamW on every parameter, dropout on in both. PyTorch is no dependency of the project: only the scripts of this folder use it.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="a folder in Hugging Face layout (bare encoder or classifier)")
    p.add_argument("--caldera", default="target/release/caldera")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--length", type=int, default=64)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=4, help="timed steps a round, after one warm-up")
    p.add_argument("--json", help="where the figures go")
    return p.parse_args()


def torch_round(model, optimizer, batch, labels, steps):
    """Milliseconds of one training step and of one forward pass: medians over `steps`."""
    import torch

    train, forward = [], []
    model.train()
    for i in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if i:
            train.append((time.perf_counter() - start) * 1e3)
    model.eval()
    with torch.no_grad():
        for i in range(steps + 1):
            start = time.perf_counter()
            model(**batch)
            if i:
                forward.append((time.perf_counter() - start) * 1e3)
    return statistics.median(train), statistics.median(forward)


def caldera_round(args):
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "bench.json")
        env = dict(os.environ, RAYON_NUM_THREADS=str(args.threads))
        subprocess.run(
            [args.caldera, "bench", "train", "--model", args.model, "--batch", str(args.batch), "--length", str(args.length),
             "--steps", str(args.steps), "--device", "cpu", "--json", out],
            check=True, env=env, stdout=subprocess.DEVNULL)
        with open(out, encoding="utf-8") as f:
            r = json.load(f)
    return r["train_step_ms"], r["forward_ms"]


def main():
    args = arguments()
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=2)
    decay = [p for n, p in model.named_parameters() if not ("bias" in n or "LayerNorm" in n)]
    plain = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=2e-5)
    ids = torch.randint(1000, model.config.vocab_size, (args.batch, args.length))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    labels = torch.randint(0, 2, (args.batch,))

    rounds = []
    for i in range(args.rounds):
        t_train, t_forward = torch_round(model, optimizer, batch, labels, args.steps)
        c_train, c_forward = caldera_round(args)
        rounds.append({"torch": {"train_step_ms": t_train, "forward_ms": t_forward},
                       "caldera": {"train_step_ms": c_train, "forward_ms": c_forward},
                       "ratio_train": c_train / t_train, "ratio_forward": c_forward / t_forward})
        print(f"round {i + 1}: train {c_train:.0f} / {t_train:.0f} ms = {c_train / t_train:.2f}, "
              f"forward {c_forward:.0f} / {t_forward:.0f} ms = {c_forward / t_forward:.2f}", flush=True)
    result = {
        "model": os.path.basename(os.path.normpath(args.model)), "batch": args.batch, "length": args.length,
        "threads": args.threads, "torch": torch.__version__,
        "ratio_train": statistics.median(r["ratio_train"] for r in rounds),
        "ratio_forward": statistics.median(r["ratio_forward"] for r in rounds), "rounds": rounds,
    }
    print(f"caldera / PyTorch: training step {result['ratio_train']:.2f}, forward {result['ratio_forward']:.2f}")
    if args.json:
        os.makedirs(os.path.dirname(args.json) or ".", exist_ok=True)
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
