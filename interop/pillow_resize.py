"""Compares our resizing and preprocessing with Pillow's, on random pictures of random sizes in every mode.

Needs Pillow (written with 9.4, the reference's), numpy and a build (`npm run build`). Prints the largest difference
for each mode; every one should be 0, and the exit status says so.

    python interop/pillow_resize.py [--dist dist] [--count 60] [--seed 0]
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

SAMPLES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "I": 1, "indexed": 3}

# Reads the cases, resizes each (and preprocesses it), writes the results beside them.
OURS = """
import { readFileSync, writeFileSync } from "node:fs";
const [folder, dist] = process.argv.slice(2);
const { preprocessImage, resizeImage } = await import(`${dist}/image/index.js`);
for (const [i, { mode, width, height, to, size, resize }] of JSON.parse(readFileSync(`${folder}/cases.json`)).entries()) {
  const bytes = new Uint8Array(readFileSync(`${folder}/${i}.in`));
  const data = mode === "I" ? new Int32Array(bytes.buffer) : bytes;
  const image = { width, height, mode: mode === "indexed" ? "RGB" : mode, data, indexed: mode === "indexed" };
  const resized = resizeImage(image, { width: to[0], height: to[1] }).data;
  writeFileSync(`${folder}/${i}.resized`, new Uint8Array(resized.buffer, resized.byteOffset, resized.byteLength));
  writeFileSync(`${folder}/${i}.preprocessed`, preprocessImage(image, { size, resize, background: "drop" }).data);
}
"""


def edge(rng):
    return rng.choice([rng.randint(1, 12), rng.randint(1, 300), rng.randint(200, 900)])


def make_case(rng, mode):
    size = rng.choice([1, 7, 32, 224, 256])
    width, height = edge(rng), edge(rng)
    to = rng.choice([(edge(rng), edge(rng)), (width, edge(rng)), (edge(rng), height)])
    return dict(mode=mode, width=width, height=height, to=to, size=size, resize=rng.choice(["shortest", "squash"]))


def make_pixels(case, generator):
    shape = (case["height"], case["width"], SAMPLES[case["mode"]])
    if case["mode"] == "I":
        return generator.integers(0, 65536, shape, dtype=np.int32)
    pixels = generator.integers(0, 256, shape, dtype=np.uint8)
    # Extremes make the kernel overshoot; whole alphas of 0 and 255 take other branches.
    extreme = generator.random(shape) < 0.4
    return np.where(extreme, np.where(pixels < 128, 0, 255), pixels).astype(np.uint8)


def to_pillow(case, pixels):
    if case["mode"] == "I":
        return Image.fromarray(pixels[..., 0], "I")
    mode = "RGB" if case["mode"] == "indexed" else case["mode"]
    return Image.fromarray(pixels[..., 0] if SAMPLES[mode] == 1 else pixels, mode)


def theirs(case, image):
    """Pillow's resize, and the preprocessing of torchvision's Resize and CenterCrop, in Pillow's calls."""
    how = Image.NEAREST if case["mode"] == "indexed" else Image.BICUBIC
    resized = image.resize(tuple(case["to"]), how)
    size, (width, height) = case["size"], image.size
    if case["resize"] == "squash":
        square = image.resize((size, size), how)
    else:
        long = int(size * max(width, height) / min(width, height))
        target = (size, long) if width <= height else (long, size)
        left, top = (int(round((extent - size) / 2.0)) for extent in target)
        square = image.resize(target, how).crop((left, top, left + size, top + size))
    return resized, square.convert("RGB")


def difference(image, path):
    pillow = np.asarray(image)
    own = np.fromfile(path, pillow.dtype).reshape(pillow.shape)
    return int(np.abs(pillow.astype(np.int64) - own.astype(np.int64)).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dist", default="dist")
    parser.add_argument("--count", type=int, default=60, help="pictures of each mode")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, generator = random.Random(options.seed), np.random.default_rng(options.seed)
    cases = [make_case(rng, mode) for mode in SAMPLES for _ in range(options.count)]
    worst = {mode: [0, 0] for mode in SAMPLES}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "cases.json").write_text(json.dumps(cases))
        (folder / "ours.mjs").write_text(OURS)
        images = []
        for i, case in enumerate(cases):
            pixels = make_pixels(case, generator)
            (folder / f"{i}.in").write_bytes(pixels.tobytes())
            images.append(to_pillow(case, pixels))
        dist = pathlib.Path(options.dist).resolve()
        subprocess.run(["node", str(folder / "ours.mjs"), str(folder), str(dist)], check=True)
        for i, (case, image) in enumerate(zip(cases, images)):
            resized, square = theirs(case, image)
            found = [difference(resized, folder / f"{i}.resized"), difference(square, folder / f"{i}.preprocessed")]
            worst[case["mode"]] = list(map(max, worst[case["mode"]], found))
    for mode, (resized, preprocessed) in worst.items():
        print(f"{mode:8} {options.count} pictures: largest difference {resized} resized, {preprocessed} preprocessed")
    return 0 if not any(map(any, worst.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
