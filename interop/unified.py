"""Makes test/models/fixtures/ar.json: what PyTorch computes of the unified transformer, for each way a picture enters.

    python interop/unified.py > test/models/fixtures/ar.json      (write it)
    python interop/unified.py --check test/models/fixtures/ar.json (compare with what is written)

Needs torch (made with 2.13.0, CPU, f64). Weights, features and directions are hashes of names and places, as in
test/prng-weights.ts; they are rounded to f32 and computed with in f64. Each case holds the loss of a row of two samples and
padding, the sum of each position's logits, and of the gradient of each parameter the norm and the inner product with a
hashed direction.
"""

import json
import math
import sys

import torch
import torch.nn.functional as F

WIDTH, DEPTH, HEADS, HIDDEN, TEXT, CODES, FEATURES, LEVELS, SIZE = 32, 2, 4, 48, 12, 10, 6, 2, 5
SAMPLES = [[1, 9, 14, 3, 20, 29, 23, 20, 4, 2], [1, 3, 25, 22, 21, 28, 4, 10, 11, 2]]
LENGTH = 23
IMAGE_START = 8 + TEXT
# Constants of our graphs are f32.
SCALE = torch.tensor((WIDTH // HEADS) ** -0.5).item()
CASES = [("vq", 2), ("toklip", 2), ("toklip+vq", 2), ("semantic-codes", 2), ("toklip", 4)]


def hashed(key, shape, offset=0.0, scale=1.0):
    start = 0x811C9DC5
    for byte in key.encode():
        start = ((start ^ byte) * 0x01000193) & 0xFFFFFFFF
    values = []
    for i in range(math.prod(shape)):
        x = (start + i * 0x9E3779B9) & 0xFFFFFFFF
        x ^= x >> 16
        x = (x * 0x21F0AAAD) & 0xFFFFFFFF
        x ^= x >> 15
        x = (x * 0x735A2D97) & 0xFFFFFFFF
        x ^= x >> 15
        values.append(offset + scale * ((x >> 8) / 2**23 - 1))
    return torch.tensor(values, dtype=torch.float64).float().double().reshape(shape)


class Model:
    def __init__(self, entry, kv_heads):
        self.entry, self.kv_heads, self.parameters = entry, kv_heads, {}

    def weight(self, name, *shape):
        if name not in self.parameters:
            made = hashed(name, shape, 1.0, 0.2) if "norm" in name else hashed(name, shape, 0.0, 0.4)
            self.parameters[name] = made.requires_grad_(not name.startswith("semantic_codebooks"))
        return self.parameters[name]

    def norm(self, name, x):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * self.weight(f"{name}.weight", WIDTH)

    def project(self, features):
        name = "image_projection"
        hidden = F.linear(features, self.weight(f"{name}.fc1.weight", WIDTH, FEATURES), self.weight(f"{name}.fc1.bias", WIDTH))
        hidden = F.gelu(hidden, approximate="tanh")
        return F.linear(hidden, self.weight(f"{name}.fc2.weight", WIDTH, WIDTH), self.weight(f"{name}.fc2.bias", WIDTH))

    def codes(self, features):
        rest, total = features, 0
        for level in range(LEVELS):
            table = self.weight(f"semantic_codebooks.{level}.weight", SIZE, FEATURES)
            nearest = torch.cdist(rest, table).argmin(-1)
            rest = rest - table[nearest]
            total = total + self.weight(f"semantic_embeddings.{level}.weight", SIZE, WIDTH)[nearest]
        return total

    def embed(self, ids, features):
        embedded = self.weight("tok_embeddings.weight", IMAGE_START + CODES, WIDTH)[ids]
        is_image = (ids >= IMAGE_START).unsqueeze(-1)
        if self.entry == "vq":
            return embedded
        if self.entry == "toklip":
            return torch.where(is_image, self.project(features), embedded)
        if self.entry == "toklip+vq":
            return embedded + is_image * self.project(features)
        return torch.where(is_image, self.codes(features), embedded)

    def heads(self, x, count, turn):
        x = x.reshape(x.shape[0], count, WIDTH // HEADS)
        if turn is not None:
            pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
            x = torch.view_as_real(pairs * turn.unsqueeze(1)).flatten(-2)
        return x.transpose(0, 1)

    def block(self, name, x, turn, mask):
        d, kv = WIDTH // HEADS, self.kv_heads
        qkv = F.linear(self.norm(f"{name}.attention_norm", x), self.weight(f"{name}.attention.wqkv.weight", WIDTH + 2 * kv * d, WIDTH))
        q, k, v = qkv.split([WIDTH, kv * d, kv * d], -1)
        q, k, v = self.heads(q, HEADS, turn), self.heads(k, kv, turn), self.heads(v, kv, None)
        mixed = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask, enable_gqa=True, scale=SCALE)[0]
        x = x + F.linear(mixed.transpose(0, 1).reshape(-1, WIDTH), self.weight(f"{name}.attention.wo.weight", WIDTH, WIDTH))
        inner, name = self.norm(f"{name}.ffn_norm", x), f"{name}.feed_forward"
        gate = F.silu(F.linear(inner, self.weight(f"{name}.w1.weight", HIDDEN, WIDTH)))
        up = F.linear(inner, self.weight(f"{name}.w3.weight", HIDDEN, WIDTH))
        return x + F.linear(gate * up, self.weight(f"{name}.w2.weight", WIDTH, HIDDEN))

    def logits(self, ids, segments, positions, features):
        speeds = 10000.0 ** (-torch.arange(0, WIDTH // HEADS, 2, dtype=torch.float64) / (WIDTH // HEADS))
        angles = positions[:, None] * speeds
        turn = torch.complex(angles.cos().float().double(), angles.sin().float().double())
        mask = (segments[:, None] == segments[None]) & torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
        x = self.embed(ids, features)
        for i in range(DEPTH):
            x = self.block(f"layers.{i}", x, turn, mask)
        return F.linear(self.norm("norm", x), self.weight("output.weight", IMAGE_START + CODES, WIDTH))


def padded(values, fill):
    return torch.tensor(values + [fill] * (LENGTH - len(values)))


def run(entry, kv_heads):
    model = Model(entry, kv_heads)
    ids = padded(sum(SAMPLES, []), 0)
    segments = padded([i + 1 for i, sample in enumerate(SAMPLES) for _ in sample], 0)
    positions = padded([i for sample in SAMPLES for i in range(len(sample))], 0)
    targets = padded(sum([sample[1:] + [-1] for sample in SAMPLES], []), -1)
    weights = torch.where(segments == 1, 0.5, 2.0).double()
    logits = model.logits(ids, segments, positions, hashed("features", (LENGTH, FEATURES)))
    counted = targets >= 0
    losses = F.cross_entropy(logits[counted], targets[counted], reduction="none")
    loss = (losses * weights[counted]).sum() / weights[counted].sum()
    loss.backward()
    gradients = {}
    for name, parameter in model.parameters.items():
        if parameter.requires_grad:
            dot = (parameter.grad * hashed(f"dot:{name}", parameter.shape)).sum().item()
            gradients[name] = {"l2": parameter.grad.norm().item(), "dot": dot}
    return {"entry": entry, "kv_heads": kv_heads, "loss": loss.item(), "sums": logits.sum(-1).tolist(), "gradients": gradients}


def main():
    made = {"cases": [run(*case) for case in CASES]}
    if len(sys.argv) > 2 and sys.argv[1] == "--check":
        with open(sys.argv[2], encoding="utf8") as file:
            written = json.load(file)
        worst = 0.0
        for ours, theirs in zip(made["cases"], written["cases"], strict=True):
            worst = max(worst, abs(ours["loss"] - theirs["loss"]))
            for name, gradient in ours["gradients"].items():
                worst = max(worst, abs(gradient["l2"] - theirs["gradients"][name]["l2"]))
        print(f"the largest difference is {worst:.1e}")
        sys.exit(worst > 1e-9)
    json.dump(made, sys.stdout, indent=1)
    print()


main()
