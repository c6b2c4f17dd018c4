"""Checks that PyTorch and safetensors agree with this project about checkpoint files.

Needs Python with torch, numpy and safetensors. From the repository's root, after a build:

    python interop/safetensors_roundtrip.py write DIR
    node dist/cli/main.js convert DIR/sample.pt DIR/sample.safetensors
    python interop/safetensors_roundtrip.py compare DIR/sample.pt DIR/sample.safetensors

`write` makes a PyTorch file of every supported dtype, of transposed, expanded, tied, scalar and empty tensors,
parameters, numpy scalars and training arguments. `compare` loads a PyTorch file with torch and what it was converted to
(a .safetensors file, an index of several, or a folder of either) with safetensors, and compares names, dtypes, shapes
and bits. It can be given any other pair as well. Exit status 0: equal.
"""

import argparse
import collections
import json
import pathlib
import sys

import numpy
import torch
from safetensors import safe_open


def sample():
    generator = torch.Generator().manual_seed(7)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    shared = random(4, 6)
    state = collections.OrderedDict()
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        state[f"module.{dtype}"] = random(3, 5).to(dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool):
        state[f"module.{dtype}"] = torch.arange(12).reshape(3, 4).to(dtype)
    state["module.special"] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    state["module.transposed"] = shared.t()
    state["module.tied"] = shared
    state["module.slice"] = shared[1:3, 2:]
    state["module.channels_last"] = random(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state["module.expanded"] = random(1, 4).expand(3, 4)
    state["module.scalar"] = torch.tensor(4.61)
    state["module.empty"] = torch.empty(0, 7)
    state["module.parameter"] = torch.nn.Parameter(random(2, 2))
    state["module.größe \u0000 \"quoted\""] = random(1)
    weight = torch.nn.Parameter(random(8, 8))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "name": "sample",
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "best": numpy.float64(0.75),
        "args": argparse.Namespace(lr=1e-5, betas=(0.9, 0.95), big=2**80, device=torch.device("cpu")),
    }


def weights_of(path):
    root = torch.load(path, map_location="cpu", weights_only=False)
    for key in ("state_dict", "model", "module"):
        if isinstance(root.get(key), dict):
            root = root[key]
            break
    tensors = {name: value.detach() for name, value in root.items() if isinstance(value, torch.Tensor)}
    if next(iter(tensors)).startswith("module."):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def converted(path):
    path = pathlib.Path(path)
    if path.is_dir():
        path = next(iter([*path.glob("*.safetensors.index.json"), *path.glob("*.safetensors")]))
    files = [path]
    if path.suffix == ".json":
        weight_map = json.loads(path.read_text())["weight_map"]
        files = [path.parent / name for name in sorted(set(weight_map.values()))]
    tensors = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            tensors.update({name: opened.get_tensor(name) for name in opened.keys()})
    return tensors


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)


def compare(torch_path, other_path):
    ours, theirs = converted(other_path), weights_of(torch_path)
    problems = [f"only in one of both: {name!r}" for name in ours.keys() ^ theirs.keys()]
    for name in ours.keys() & theirs.keys():
        a, b = ours[name], theirs[name]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            problems.append(f"{name!r}: {a.dtype} {tuple(a.shape)} is not {b.dtype} {tuple(b.shape)}")
        elif not torch.equal(bits(a), bits(b)):
            problems.append(f"{name!r}: bits differ")
    print("\n".join(problems) or f"{len(theirs)} tensors equal")
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("write").add_argument("folder", type=pathlib.Path)
    pair = verbs.add_parser("compare")
    pair.add_argument("torch_file")
    pair.add_argument("converted")
    options = parser.parse_args()
    if options.verb == "compare":
        return compare(options.torch_file, options.converted)
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.save(sample(), options.folder / "sample.pt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
