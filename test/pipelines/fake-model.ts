/** A model that needs no weights: everything follows from a picture's name. For tests of what surrounds a model. */
import { readFileSync } from "node:fs";
import { type NDArray, ndarray, ToklipError } from "../../src/core/index.ts";
import { parseConfig, type ToklipConfig } from "../../src/models/config.ts";
import type { ImageInput, PreprocessOptions, TokLIPModel } from "../../src/pipelines/model.ts";

const CONFIG_FILE = new URL("../goldens/model_configs/ViT-tiny-16-SigLIP2-64-toklip.json", import.meta.url);
export const FAKE_CONFIG = parseConfig(JSON.parse(readFileSync(CONFIG_FILE, "utf8")), "fake");

const SIDE = FAKE_CONFIG.trunk.imageSize / FAKE_CONFIG.trunk.patchSize;
const SIZE = FAKE_CONFIG.trunk.imageSize;
const D = FAKE_CONFIG.embedDim;

export interface FakeOptions {
  /** Milliseconds a picture, and a run, take. */
  readonly preprocessMs?: number;
  readonly runMs?: number;
  readonly config?: ToklipConfig;
}

const sleep = (ms: number): Promise<void> =>
  ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : Promise.resolve();

/** The number in [0, 255] that stands for a picture. */
export function markOf(file: string): number {
  let hash = 7;
  for (const char of file.replace(/^.*\//, "")) hash = (hash * 31 + char.charCodeAt(0)) % 251;
  return hash;
}

/** The ids the fake gives for a picture. */
export function idsOf(file: string): number[] {
  return Array.from({ length: SIDE * SIDE }, (_, i) => markOf(file) + i);
}

/** Pictures whose name contains "bad" cannot be read. Counts what is in flight. */
export class FakeModel implements Partial<TokLIPModel> {
  readonly config: ToklipConfig;
  readonly options: FakeOptions;
  /** Pictures being preprocessed now, and at most so far. */
  running = 0;
  mostRunning = 0;
  preprocessed = 0;
  batches: number[] = [];
  /** What each encoded text was. */
  texts: string[] = [];
  /** How each picture was to be prepared. */
  prepared: (PreprocessOptions | undefined)[] = [];
  disposed = false;

  constructor(options: FakeOptions = {}) {
    this.options = options;
    this.config = options.config ?? FAKE_CONFIG;
  }

  async preprocess(images: ImageInput | readonly ImageInput[], options?: PreprocessOptions): Promise<NDArray<"f32">> {
    this.prepared.push(options);
    const [file] = images as string[];
    this.mostRunning = Math.max(this.mostRunning, ++this.running);
    await sleep(this.options.preprocessMs ?? 0);
    this.running--;
    this.preprocessed++;
    if (file!.includes("bad")) throw new ToklipError("IMAGE_UNREADABLE", `${file}: not a picture`);
    const pixels = ndarray("f32", [1, 3, SIZE, SIZE]);
    pixels.data.fill(markOf(file!) / 127.5 - 1);
    return pixels;
  }

  async encodeIds(pixels: NDArray<"f32">): Promise<NDArray<"i32">> {
    await sleep(this.options.runMs ?? 0);
    const batch = pixels.shape[0]!;
    this.batches.push(batch);
    const ids = ndarray("i32", [batch, SIDE, SIDE]);
    for (let i = 0; i < ids.data.length; i++) {
      const mark = (pixels.data[Math.floor(i / SIDE ** 2) * 3 * SIZE * SIZE]! + 1) * 127.5;
      ids.data[i] = Math.round(mark) + (i % SIDE ** 2);
    }
    return ids;
  }

  encodePixels(pixels: NDArray<"f32">) {
    return this.encodeImage(pixels);
  }

  async encodeImage(pixels: NDArray<"f32">) {
    const ids = await this.encodeIds(pixels);
    return { ids, ...(await this.encodeFeatures(ids)) };
  }

  async encodeFeatures(ids: NDArray<"i32">) {
    const batch = ids.shape[0]!;
    const tokenFeatures = ndarray("f32", [batch, SIDE * SIDE, D]);
    const imageFeatures = ndarray("f32", [batch, D]);
    for (let i = 0; i < tokenFeatures.data.length; i++) tokenFeatures.data[i] = ids.data[Math.floor(i / D)]!;
    for (let i = 0; i < imageFeatures.data.length; i++) {
      imageFeatures.data[i] = Math.cos(ids.data[Math.floor(i / D) * SIDE ** 2]! * ((i % D) + 1));
    }
    return { tokenFeatures, imageFeatures };
  }

  async encodeText(texts: string | readonly string[]): Promise<NDArray<"f32">> {
    const list = [texts].flat() as string[];
    this.texts.push(...list);
    const features = ndarray("f32", [list.length, D]);
    for (let i = 0; i < features.data.length; i++) {
      features.data[i] = Math.cos(markOf(list[Math.floor(i / D)]!) * ((i % D) + 1));
    }
    return features;
  }

  async decodeIds(ids: NDArray<"i32">): Promise<NDArray<"f32">> {
    const batch = ids.shape[0]!;
    const pixels = ndarray("f32", [batch, 3, SIZE, SIZE]);
    const each = 3 * SIZE * SIZE;
    for (let i = 0; i < pixels.data.length; i++)
      pixels.data[i] = ids.data[Math.floor(i / each) * SIDE ** 2]! / 127.5 - 1;
    return pixels;
  }

  async dispose(): Promise<void> {
    this.disposed = true;
  }
}

/** The fake, as the type that pipelines take. */
export function fakeModel(options: FakeOptions = {}): FakeModel & TokLIPModel {
  return new FakeModel(options) as FakeModel & TokLIPModel;
}
