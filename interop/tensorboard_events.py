"""Checks that TensorBoard reads a run's event files as `metrics.jsonl` has them.

Needs Python with tensorboard. From the repository's root, after a training (killed and resumed as often as you like):

    python interop/tensorboard_events.py RUN_FOLDER

Each scalar of each line is compared with what TensorBoard's EventAccumulator holds at that step: equal as 32-bit floats,
every step once, in order, whatever earlier sessions wrote of steps that were repeated; pictures have their size.
Exit status 0: equal.
"""

import collections
import json
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

STEP_TAGS = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "gradient_norm": "train/gradient_norm",
    "images_per_second": "speed/images_per_second",
    "data_seconds": "speed/data_seconds",
}


def as_float(value):
    value = float(value)
    return struct.unpack("<f", struct.pack("<f", value))[0] if math.isfinite(value) else value


def expected(folder):
    curves = collections.defaultdict(list)
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        values = {f"evaluation/{name}": value for name, value in record.get("evaluation", {}).items()}
        values.update({f"parts/{name}": value for name, value in record.get("parts", {}).items()})
        values.update({tag: record[key] for key, tag in STEP_TAGS.items() if key in record})
        for tag, value in values.items():
            curves[tag].append((record["step"], as_float(value)))
    return dict(curves)


def main():
    folder = pathlib.Path(sys.argv[1])
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    curves = expected(folder)
    problems = [f"only in one of both: {tag}" for tag in curves.keys() ^ set(events.Tags()["scalars"])]
    for tag, points in curves.items():
        read = [(event.step, event.value) for event in events.Scalars(tag)] if not problems else []
        if str(read) != str(points):  # as text, since NaN is no other NaN
            problems.append(f"{tag}: {len(read)} points read, {len(points)} expected, or values differ")
    pictures = 0
    for tag in events.Tags()["images"]:
        for image in events.Images(tag):
            pictures += 1
            width, height = struct.unpack(">II", image.encoded_image_string[16:24])
            if (image.width, image.height) != (width, height):
                problems.append(f"{tag}: {image.width}x{image.height} is not {width}x{height}")
    sessions = len(list(folder.glob("events.out.tfevents.*")))
    points = sum(len(curve) for curve in curves.values())
    print("\n".join(problems) or f"{sessions} sessions, {len(curves)} curves, {points} points, {pictures} pictures equal")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
