"""The timing peer of bench/encode.mjs: the same amounts of work in PyTorch, with random weights.

Run by the benchmark, not by hand:
    node bench/encode.mjs --model MODEL.safetensors --peer "python interop/peer_encode.py"

Needs torch (measured with 2.13.0, CPU). Each line of standard input is `PART PRECISION BATCH`
(PART vq_encoder | vq_decoder | token_encoder, PRECISION fp32 | bf16); the answer is the milliseconds of one run.
The modules have the shapes of the 256 px configuration; numbers are not compared here (the goldens do that).
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.n1, self.n2 = nn.GroupNorm(32, cin, 1e-6), nn.GroupNorm(32, cout, 1e-6)
        self.c1, self.c2 = nn.Conv2d(cin, cout, 3, padding=1), nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1)

    def forward(self, x):
        return self.skip(x) + self.c2(F.silu(self.n2(self.c1(F.silu(self.n1(x))))))


class Attention2d(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.n, self.qkv, self.o = nn.GroupNorm(32, c, 1e-6), nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x):
        q, k, v = self.qkv(self.n(x)).flatten(2).transpose(1, 2).chunk(3, -1)
        y = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.o(y.transpose(1, 2).reshape(x.shape))


def middle(c):
    return [Block(c, c), Attention2d(c), Block(c, c)]


def vq_encoder(ch=128, mult=(1, 1, 2, 2, 4), z=256):
    layers, c = [nn.Conv2d(3, ch, 3, padding=1)], ch
    for i, m in enumerate(mult):
        last = i == len(mult) - 1
        for _ in range(2):
            layers.append(Block(c, ch * m))
            c = ch * m
            if last:
                layers.append(Attention2d(c))
        if not last:
            layers += [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(c, c, 3, stride=2)]
    return nn.Sequential(*layers, *middle(c), nn.GroupNorm(32, c), nn.SiLU(), nn.Conv2d(c, z, 3, padding=1))


def vq_decoder(ch=128, mult=(1, 1, 2, 2, 4), z=256):
    c = ch * mult[-1]
    layers = [nn.Conv2d(8, z, 1), nn.Conv2d(z, c, 3, padding=1), *middle(c)]
    for i, m in enumerate(reversed(mult)):
        for _ in range(3):
            layers.append(Block(c, ch * m))
            c = ch * m
            if i == 0:
                layers.append(Attention2d(c))
        if i < len(mult) - 1:
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(c, c, 3, padding=1)]
    return nn.Sequential(*layers, nn.GroupNorm(32, c), nn.SiLU(), nn.Conv2d(c, 3, 3, padding=1))


class CausalBlock(nn.Module):
    def __init__(self, d=1152, heads=16, hidden=4304):
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = nn.LayerNorm(d, 1e-6), nn.LayerNorm(d, 1e-6)
        self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.f1, self.f2 = nn.Linear(d, hidden), nn.Linear(hidden, d)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(self.n1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(b, n, d))
        return x + self.f2(F.gelu(self.f1(self.n2(x)), approximate="tanh"))


def token_encoder(d=1152):
    mapping = [nn.Linear(8, 4 * d), nn.GELU(), nn.Linear(4 * d, d)]
    return nn.Sequential(*mapping, *[CausalBlock(d) for _ in range(27)], nn.LayerNorm(d))


MAKE = {"vq_encoder": vq_encoder, "vq_decoder": vq_decoder, "token_encoder": token_encoder}
INPUT = {
    "vq_encoder": lambda b: torch.randn(b, 3, 256, 256),
    "vq_decoder": lambda b: torch.randn(b, 8, 16, 16),
    "token_encoder": lambda b: torch.randn(b, 256, 8),
}


def main():
    torch.manual_seed(0)
    models = {}
    for line in sys.stdin:
        part, precision, batch = line.split()
        if part not in models:
            models[part] = MAKE[part]().eval()
            if part != "token_encoder":  # the faster layout for convolutions
                models[part] = models[part].to(memory_format=torch.channels_last)
        x = INPUT[part](int(batch))
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            start = time.perf_counter()
            models[part](x)
            print(f"{(time.perf_counter() - start) * 1e3:.1f}", flush=True)


if __name__ == "__main__":
    main()
