"""Checks that PyTorch reads what a training run exports, and that it has the reference's tensors.

Needs Python with torch, numpy and safetensors. From the repository's root, after a build, with a configuration as the
help of `toklip train toklip` shows it, `init` naming the checkpoint to compare with, or one of its layout:

    node dist/cli/main.js train toklip --config run.json --out run --smoke --set init='["test/goldens/tiny/tiny.pt"]'
    python interop/training_export.py run/model.safetensors test/goldens/train/tiny_train_epoch_1.pt --depth 2

Loads the first file with `safetensors.torch.load_file`, the second, a PyTorch file of the reference's training, with
torch, and compares names, shapes and dtypes; that all numbers are finite; and which tensors have other values than there.
With `--depth N`, blocks of the image tower from N on may be missing, as a smoke run leaves them out. Exit status 0: equal.
"""

import argparse
import re
import sys

import torch
from safetensors.torch import load_file


def reference(path):
    root = torch.load(path, map_location="cpu", weights_only=False)
    state = root.get("state_dict", root)
    return {name.removeprefix("module."): value for name, value in state.items()}


def is_left_out(name, depth):
    block = re.match(r"visual\.trunk\.blocks\.(\d+)\.", name)
    return depth is not None and block is not None and int(block[1]) >= depth


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported")
    parser.add_argument("reference")
    parser.add_argument("--depth", type=int)
    options = parser.parse_args()
    ours = load_file(options.exported)
    theirs = {n: t for n, t in reference(options.reference).items() if not is_left_out(n, options.depth)}
    problems = [f"only in the {'export' if name in ours else 'reference'}: {name}" for name in ours.keys() ^ theirs.keys()]
    moved = []
    for name in ours.keys() & theirs.keys():
        a, b = ours[name], theirs[name]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            problems.append(f"{name}: {a.dtype} {tuple(a.shape)} is not {b.dtype} {tuple(b.shape)}")
        elif not torch.equal(a, b):
            moved.append(name)
        if a.is_floating_point() and not torch.isfinite(a).all():
            problems.append(f"{name}: has numbers that are not finite")
    # The reference notes the use of codes even in a frozen VQ.
    frozen = [n for n in moved if n.startswith(("text.", "visual.trunk.vq.")) and not n.endswith("codebook_used")]
    print("\n".join(sorted(problems)) or f"{len(theirs)} tensors alike; {len(moved)} have other values, {len(frozen)} of them frozen")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
