#!/usr/bin/env python3
"""Writes a BERT classifier folder as ONNX, for tests/compare/onnxruntime_web.mjs (same weights, same inputs as the page's engine).

    .venv/bin/pip install torch==2.15.0 transformers==4.57.6 onnx==1.23.2
    .venv/bin/python tests/compare/export_onnx.py --model PAIR/transformer --out out/onnx/model.onnx
"""
import argparse
import os

import torch
from transformers import AutoModelForSequenceClassification


class Logits(torch.nn.Module):
    """input_ids, attention_mask [B, L] -> logits [B, labels], without the output object that tracing dislikes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--out", required=True)
    args = p.parse_args()
    # SDPA traces into one fused pattern that onnxruntime recognises; eager is its documented input too.
    model = AutoModelForSequenceClassification.from_pretrained(args.model, attn_implementation="eager").float().eval()
    os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
    ids = torch.randint(5, model.config.vocab_size, (1, 16))
    axes = {0: "batch", 1: "length"}
    torch.onnx.export(
        Logits(model), (ids, torch.ones_like(ids)), args.out, input_names=["input_ids", "attention_mask"], output_names=["logits"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}}, opset_version=17, dynamo=False)
    print(args.out)


if __name__ == "__main__":
    main()
