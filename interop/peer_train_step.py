"""PyTorch's time for the training steps of bench/train-step.mjs: reads a name from each line, answers milliseconds.

Loss and all gradients in fp32, without the optimizer; the same sizes, causal masks and losses.
"""
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)


class Block(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class Encoder(nn.Module):
    def __init__(self, width, depth, heads, tokens, ratio):
        super().__init__()
        hidden = int(width * ratio)
        self.heads = heads
        self.table, self.mapping = nn.Linear(8, 4 * width), nn.Linear(4 * width, width)
        self.pos = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, heads, hidden) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.latent = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.pool_norm = nn.LayerNorm(width, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.tensor(4.6))

    def forward(self, codes):
        x = self.mapping(F.gelu(self.table(codes))) + self.pos
        x = self.norm(self.blocks(x))
        b, n, d = x.shape
        h = self.heads
        q = self.q(self.latent).reshape(1, 1, h, d // h).transpose(1, 2).expand(b, -1, -1, -1)
        k, v = self.kv(x).reshape(b, n, 2, h, d // h).permute(2, 0, 3, 1, 4)
        y = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, 1, d))
        return (y + self.fc2(F.gelu(self.fc1(self.pool_norm(y)), approximate="tanh")))[:, 0]


def toklip(width, depth, heads, tokens, ratio, batch):
    model = Encoder(width, depth, heads, tokens, ratio)
    codes = F.normalize(torch.randn(batch, tokens, 8), dim=-1)
    text, teacher = (F.normalize(torch.randn(batch, width), dim=-1) for _ in range(2))
    target = torch.arange(batch)

    def step():
        image = F.normalize(model(codes), dim=-1)
        logits = model.scale.exp() * image @ text.T
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        (loss + 1000 * F.mse_loss(image, teacher)).backward()

    return model, step


def blocks():
    model = nn.Sequential(*[Block(1152, 16, 4304) for _ in range(2)], nn.LayerNorm(1152, eps=1e-6))
    x = torch.randn(1, 256, 1152)
    return model, lambda: model(x).square().mean().backward()


CASES = {
    "tiny": toklip(64, 3, 4, 16, 3.7362, 5),
    "width256": toklip(256, 6, 4, 64, 4, 32),
    "so400m": blocks(),
}
for line in sys.stdin:
    model, step = CASES[line.strip()]
    model.zero_grad(set_to_none=True)
    start = time.perf_counter()
    step()
    print((time.perf_counter() - start) * 1000, flush=True)
