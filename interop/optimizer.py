"""Makes test/train/fixtures/optimizer.json: what PyTorch's AdamW, Adam and clip_grad_norm_ compute.

    python interop/optimizer.py > test/train/fixtures/optimizer.json      (write it)
    python interop/optimizer.py --check test/train/fixtures/optimizer.json (compare with what is written)

Needs torch (made with 2.13.0, CPU, f32, one tensor at a time). Each case holds the parameters before, the gradients of
each step, and parameters and moments after the last one; `none` in place of a gradient: the parameter had none in that
step. Gradients span many magnitudes, and some are zero.
"""

import json
import sys

import torch

SHAPES = {"matrix.weight": (5, 3), "matrix.bias": (5,), "scale": ()}
STEPS = 6
CASES = {
    "AdamW": dict(make=torch.optim.AdamW, lr=1e-2, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1, max_norm=None),
    "AdamW, clipped": dict(make=torch.optim.AdamW, lr=3e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.2, max_norm=1.0),
    "Adam": dict(make=torch.optim.Adam, lr=1e-3, betas=(0.5, 0.9), eps=1e-8, weight_decay=0.0, max_norm=None),
}


def flat(tensors):
    return {name: [float(f"{x:.9g}") for x in tensor.detach().reshape(-1).tolist()] for name, tensor in tensors.items()}


def gradients(step, generator):
    found = {}
    for name, shape in SHAPES.items():
        power = torch.randint(-5, 2, shape, generator=generator)
        keep = torch.rand(shape, generator=generator) > 0.1
        gradient = torch.randn(shape, generator=generator) * 10.0**power * keep
        if not (name == "matrix.bias" and step in (0, 3)):
            found[name] = gradient
    return found


def run(case, seed):
    generator = torch.Generator().manual_seed(seed)
    parameters = {n: torch.nn.Parameter(torch.randn(s, generator=generator)) for n, s in SHAPES.items()}
    settings = {k: v for k, v in case.items() if k not in ("make", "max_norm", "weight_decay")}
    groups = [
        {"params": [parameters["matrix.weight"]], "weight_decay": case["weight_decay"]},
        {"params": [parameters["matrix.bias"], parameters["scale"]], "weight_decay": 0.0},
    ]
    optimizer = case["make"](groups, foreach=False, **settings)
    before, given, norms = flat(parameters), [], []
    for step in range(STEPS):
        found = gradients(step, generator)
        given.append(flat(found))
        for name, parameter in parameters.items():
            parameter.grad = found[name].clone() if name in found else None
        limit = float("inf") if case["max_norm"] is None else case["max_norm"]
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), limit).item())
        optimizer.step()
    state = {name: optimizer.state[parameter] for name, parameter in parameters.items()}
    return {
        **{k: v for k, v in case.items() if k != "make"},
        "before": before,
        "gradients": given,
        "norms": norms,
        "after": flat(parameters),
        "steps": {name: int(s["step"]) for name, s in state.items()},
        "exp_avg": flat({name: s["exp_avg"] for name, s in state.items()}),
        "exp_avg_sq": flat({name: s["exp_avg_sq"] for name, s in state.items()}),
    }


def main():
    shapes = {name: list(shape) for name, shape in SHAPES.items()}
    made = {"shapes": shapes, "cases": {name: run(case, i) for i, (name, case) in enumerate(CASES.items())}}
    if "--check" in sys.argv:
        with open(sys.argv[sys.argv.index("--check") + 1], encoding="utf-8") as file:
            same = json.load(file) == json.loads(json.dumps(made))
        print("equal" if same else "different")
        sys.exit(0 if same else 1)
    json.dump(made, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
