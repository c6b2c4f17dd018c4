"""The timing peer of bench/optimizer.mjs: the same work in PyTorch.

Run by the benchmark, not by hand:
    node bench/optimizer.mjs --peer "python interop/peer_optimizer.py"

Needs torch (measured with 2.13.0, CPU). Each line of standard input is `WHAT|SHAPES`, the shapes as JSON; the answer is
the milliseconds of one run. PyTorch chooses its own implementation (single tensor, foreach or fused) unless an
argument names one: --implementation fused|foreach|single.
"""

import argparse
import json
import sys
import time

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--implementation", choices=["default", "fused", "foreach", "single"], default="default")
CHOICE = {"default": {}, "fused": {"fused": True}, "foreach": {"foreach": True}, "single": {"foreach": False}}


class Work:
    def __init__(self, shapes, choice):
        self.parameters = [torch.nn.Parameter(torch.rand(shape) - 0.5) for shape in shapes]
        for parameter in self.parameters:
            parameter.grad = torch.rand(parameter.shape) - 0.5
        self.optimizer = torch.optim.AdamW(self.parameters, 1e-3, (0.9, 0.95), 1e-6, weight_decay=0.1, **choice)
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    def adamw(self):
        self.optimizer.step()

    def adamw_and_ema(self):
        self.optimizer.step()
        values = [parameter.detach() for parameter in self.parameters]
        torch._foreach_mul_(self.average, 0.999)
        torch._foreach_add_(self.average, values, alpha=0.001)

    def norm(self):
        torch.nn.utils.get_total_norm([parameter.grad for parameter in self.parameters])

    def add(self):
        torch._foreach_add_(self.average, [parameter.grad for parameter in self.parameters])


WHAT = {"adamw": Work.adamw, "adamw + ema": Work.adamw_and_ema, "gradient norm": Work.norm, "add gradients": Work.add}


def main():
    choice = CHOICE[parser.parse_args().implementation]
    works = {}
    for line in sys.stdin:
        what, shapes = line.strip().split("|")
        if shapes not in works:
            works[shapes] = Work(json.loads(shapes), choice)
        start = time.perf_counter()
        with torch.no_grad():
            WHAT[what](works[shapes])
        print(f"{(time.perf_counter() - start) * 1e3:.3f}", flush=True)


if __name__ == "__main__":
    main()
