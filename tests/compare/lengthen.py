#!/usr/bin/env python3
"""A BERT folder with a longer position table (the old rows repeated), for timing beyond 512 tokens. Its answers mean nothing there.

    .venv/bin/pip install numpy safetensors
    .venv/bin/python tests/compare/lengthen.py --model runs/teacher/best --positions 8192 --out out/long/transformer
    .venv/bin/python tests/compare/lengthen.py --model runs/student/best --positions 8192 --out out/long/linear
    caldera bench latency --teacher out/long/transformer --student out/long/linear --lengths 512,1024,2048,4096,8192 --json out/latency.json

The projections of a Linformer student [max_position_embeddings, k] are repeated in the same way.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, required=True)
    p.add_argument("--positions", type=int, required=True)
    p.add_argument("--out", type=pathlib.Path, required=True)
    args = p.parse_args()
    config = json.loads((args.model / "config.json").read_text())
    weights = load_file(args.model / "model.safetensors")
    for name, value in weights.items():
        if name.endswith(("position_embeddings.weight", "proj_k", "proj_v")):
            weights[name] = np.ascontiguousarray(np.resize(value, (args.positions, value.shape[1])))
    config["max_position_embeddings"] = args.positions
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(args.model / "tokenizer.json", args.out / "tokenizer.json")
    print(args.out)


if __name__ == "__main__":
    main()
