// A model of flat grey pictures: the id of every place is the level, and level l comes back as l + (l % 4). All figures of
// its reconstructions follow by hand.
import { type NDArray, ndarray } from "../../src/core/index.ts";
import type { Dataset } from "../../src/data/index.ts";
import type { EvaluationSession, FeatureOptions, PassedRows } from "../../src/evaluation/index.ts";
import { fromPixels, type Image, toPixels } from "../../src/image/index.ts";
import { gridOf } from "../../src/models/index.ts";
import type { Backend } from "../../src/runtime/index.ts";
import { FAKE_CONFIG } from "../pipelines/fake-model.ts";

const { tokens, side } = gridOf(FAKE_CONFIG.trunk);
const SIZE = FAKE_CONFIG.trunk.imageSize;

/** A flat picture of the model's size. */
export function flat(level: number): Image {
  return { width: SIZE, height: SIZE, mode: "RGB", data: new Uint8Array(3 * SIZE * SIZE).fill(level) };
}

/** What a level comes back as. */
export const rebuiltLevel = (level: number): number => level + (level % 4);

async function encodeIds(pixels: NDArray<"f32">): Promise<NDArray<"i32">> {
  const levels = Array.from({ length: pixels.shape[0]! }, (_, i) => Number(fromPixels(pixels, i).data[0]));
  return ndarray(
    "i32",
    [levels.length, side, side],
    Int32Array.from(levels.flatMap((level) => Array(tokens).fill(level))),
  );
}

async function decodeIds(ids: NDArray<"i32">): Promise<NDArray<"f32">> {
  return toPixels(Array.from({ length: ids.shape[0]! }, (_, i) => flat(rebuiltLevel(ids.data[i * tokens]!))));
}

/** Pictures of some levels; their keys are the levels. */
export function flatPictures(levels: readonly number[]): Dataset {
  return {
    name: "flat",
    async *read() {
      for (const level of levels) {
        const sample = { key: String(level), captions: [], image: async () => new Uint8Array() };
        yield { sample, position: { epoch: 0 } };
      }
    },
  };
}

/** A workplace with the model; PNG files are the first sample of the left and of the right half, drawings their text. */
export function flatSession(backend: Backend, config = FAKE_CONFIG): EvaluationSession {
  return {
    model: { config, encodeIds, decodeIds } as unknown as EvaluationSession["model"],
    texts: { encodeText: () => Promise.reject(new Error("not in this test")) },
    backend,
    description: { name: "flat", description: "flat pictures" },
    settings: {},
    pictures: {
      encodePng: async ({ data, width }) => Uint8Array.of(Number(data[0]), Number(data[3 * (width - 1)])),
      renderSvg: async (svg) => new TextEncoder().encode(svg),
    },
    openData: () => Promise.reject(new Error("not in this test")),
    features: rowsOf,
    views: async (_, keys) => new Map(Array.from(keys, (key) => [key, flat(Number(key))])),
    close: async () => {},
  };
}

async function rowsOf(dataset: Dataset, { measure }: FeatureOptions = {}): Promise<PassedRows> {
  const keys: string[] = [];
  for await (const { sample } of dataset.read({ seed: 0 })) keys.push(sample!.key);
  const { width, encode } = measure!;
  return {
    size: keys.length,
    width,
    classes: [],
    data: { name: dataset.name, used: keys.length, skipped: [] },
    seconds: 2,
    encoded: keys.length,
    async *blocks() {
      for (let at = 0; at < keys.length; at += 3) {
        const part = keys.slice(at, at + 3);
        const { data } = await encode(toPixels(part.map((key) => flat(Number(key)))));
        yield { features: data, keys: part, labels: new Int32Array(part.length).fill(-1) };
      }
    },
  };
}
