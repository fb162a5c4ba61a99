#!/usr/bin/env python3
"""The paper's recipe for BERT -> Linformer in PyTorch: what `caldera convert --guide target` is compared with in docs/results.md.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0 transformers==4.57.6
    .venv/bin/python tests/compare/pytorch_recipe.py --teacher runs/teacher/best --train data/train.jsonl --train-limit 4000 \
        --valid data/valid.jsonl --epochs 3 --seed 1

Self-attention of a fine-tuned BERT classifier is replaced by softmax(Q K'^T / sqrt(P)) V' with K' = E^T K / sqrt(n) and
V' = F^T V / sqrt(n), E and F [max_position_embeddings, k] of every layer from N(0, 1), n the sample's own length. The loss is
cross entropy plus the sum of the mean squared errors between the hidden states of teacher and student (embeddings and every
layer), over the tokens or, with `--all-positions`, over the padding too. AdamW at a constant rate, no dropout, clipping to
norm 1, batches in random order: the settings that docs/results.md gives for Caldera's own runs. Prints one JSON line an epoch.

With `--student DIR` it starts from a student of Caldera's (its projections included), and `--every-step` prints losses and gradient
norm of each step: on a training file of one batch both programs then see the same numbers, and `metrics.jsonl` of Caldera's run
shows whether they compute the same.
"""
import argparse
import json
import math


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", required=True, help="a fine-tuned classifier in Hugging Face layout")
    p.add_argument("--student", help="weights to start from, in place of the teacher's and fresh projections")
    p.add_argument("--every-step", action="store_true", help="print every step's losses")
    p.add_argument("--train", required=True, help='JSON Lines with "text" and "label"')
    p.add_argument("--train-limit", type=int)
    p.add_argument("--valid", required=True)
    p.add_argument("--max-length", type=int, default=64)
    p.add_argument("--k", type=int, default=256)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--lr", type=float, default=1e-4)
    p.add_argument("--alpha-layer", type=float, default=1.0)
    p.add_argument("--all-positions", action="store_true", help="pad every batch to --max-length and compare the padding too")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    return p.parse_args()


def linformer_attention(config, k):
    """A self-attention module with the names of transformers' own, so that a teacher's weights load into it."""
    import torch
    from torch import nn

    class LinformerSelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            size, self.heads = config.hidden_size, config.num_attention_heads
            self.query, self.key, self.value = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)
            self.proj_k = nn.Parameter(torch.randn(config.max_position_embeddings, k))
            self.proj_v = nn.Parameter(torch.randn(config.max_position_embeddings, k))
            self.mask = None  # [B, L], set before every pass

        def forward(self, x, *_, **__):
            b, l, size = x.shape
            mask = self.mask[:, :, None].to(x.dtype)
            scale = mask.sum(1, keepdim=True).rsqrt()

            def project(values, projection):
                shorter = torch.einsum("blh,lk->bkh", values * mask, projection[:l]) * scale
                return shorter.view(b, -1, self.heads, size // self.heads).transpose(1, 2)

            q = self.query(x).view(b, l, self.heads, -1).transpose(1, 2)
            key, value = project(self.key(x), self.proj_k), project(self.value(x), self.proj_v)
            weights = (q @ key.transpose(2, 3) / math.sqrt(size // self.heads)).softmax(-1)
            return (weights @ value).transpose(1, 2).reshape(b, l, size), None

    return LinformerSelfAttention()


def read(path, limit=None):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f][:limit]


def main():
    args = arguments()
    import torch
    from torch.nn import functional as F
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{args.teacher}/tokenizer.json", pad_token="[PAD]")
    teacher = AutoModelForSequenceClassification.from_pretrained(args.teacher).eval()
    student = AutoModelForSequenceClassification.from_pretrained(args.teacher).eval()  # eval: no dropout
    mixers = []
    for layer in student.bert.encoder.layer:
        mixer = linformer_attention(student.config, args.k)
        mixer.load_state_dict(layer.attention.self.state_dict(), strict=False)
        layer.attention.self = mixer
        mixers.append(mixer)
    if args.student:
        from safetensors.torch import load_file

        student.load_state_dict(load_file(f"{args.student}/model.safetensors"))
    named = list(student.named_parameters())
    plain = [p for n, p in named if "bias" in n or "LayerNorm" in n]
    decay = [p for n, p in named if not ("bias" in n or "LayerNorm" in n)]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=args.lr)

    def batch(examples):
        padding = "max_length" if args.all_positions else "longest"
        encoded = tokenizer([e["text"] for e in examples], truncation=True, max_length=args.max_length, padding=padding,
                            return_tensors="pt")
        for mixer in mixers:
            mixer.mask = encoded["attention_mask"]
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        return inputs, torch.tensor([e["label"] for e in examples])

    def layer_loss(ours, theirs, mask):
        weights = torch.ones_like(mask) if args.all_positions else mask
        weights = weights[:, :, None].to(ours[0].dtype)
        values = weights.sum() * ours[0].shape[-1]
        return sum(((a - b).square() * weights).sum() / values for a, b in zip(ours, theirs))

    train, valid = read(args.train, args.train_limit), read(args.valid)
    for epoch in range(args.epochs):
        order = torch.randperm(len(train)).tolist()
        for start in range(0, len(order), args.batch_size):
            inputs, labels = batch([train[i] for i in order[start:start + args.batch_size]])
            with torch.no_grad():
                theirs = teacher(**inputs, output_hidden_states=True).hidden_states
            ours = student(**inputs, output_hidden_states=True)
            task = F.cross_entropy(ours.logits, labels)
            layers = layer_loss(ours.hidden_states, theirs, inputs["attention_mask"])
            optimizer.zero_grad()
            (task + args.alpha_layer * layers).backward()
            norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            if args.every_step:
                print(json.dumps({"task_loss": task.item(), "layer_loss": layers.item(), "gradient_norm": norm.item()}), flush=True)
        right = 0
        with torch.no_grad():
            for start in range(0, len(valid), 64):
                inputs, labels = batch(valid[start:start + 64])
                right += (student(**inputs).logits.argmax(-1) == labels).sum().item()
        print(json.dumps({"seed": args.seed, "epoch": epoch + 1, "accuracy": right / len(valid)}), flush=True)


if __name__ == "__main__":
    main()
