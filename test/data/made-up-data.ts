// Data sets and a decoder that exist in memory only, for tests of loading.
import { type NDArray, ndarray, Random, ToklipError } from "../../src/core/index.ts";
import type { BadSample, DataItem, Dataset, Sample } from "../../src/data/dataset.ts";
import type { DecodeSpec } from "../../src/data/decode.ts";
import { indexedDataset } from "../../src/data/indexed-dataset.ts";

/** What a test says of a sample. */
export interface MadeUp {
  readonly captions?: readonly string[];
  readonly concept?: string;
  /** Instead of a sample, this. */
  readonly bad?: string;
  /** The picture cannot be decoded. */
  readonly damaged?: boolean;
}

/** Samples "0", "1", ... whose picture is their number. */
export function madeUpData(count: number, describe: (index: number) => MadeUp = () => ({}), sized = true): Dataset {
  const entry = async (index: number): Promise<{ sample: Sample } | { bad: BadSample }> => {
    const { captions = [`caption ${index}`], concept, bad, damaged } = describe(index);
    const key = String(index);
    if (bad !== undefined) return { bad: { key, reason: bad, message: `${key}: ${bad}` } };
    const image = async () => Uint8Array.of(index, damaged ? 1 : 0);
    return { sample: { key, image, captions, ...(concept !== undefined && { concept }) } };
  };
  const dataset = indexedDataset({ name: "made-up", size: count, entry });
  return sized ? dataset : { name: dataset.name, read: (options) => dataset.read(options) };
}

/** The same, but a position after an epoch's last sample still says that epoch, as a stream of shards does. */
export function lazyPositions(dataset: Dataset): Dataset {
  return {
    name: dataset.name,
    async *read(options): AsyncGenerator<DataItem> {
      const from = options.from && { ...options.from, ...(options.from.inner as object) };
      let epoch = options.from?.epoch ?? 0;
      for await (const item of dataset.read({ ...options, from: from as DataItem["position"] | undefined })) {
        const rolled = item.position.epoch > epoch;
        yield { ...item, position: { epoch, inner: item.position } };
        if (rolled) epoch = item.position.epoch;
      }
    },
  };
}

/** Pixels of random numbers: f32 (3, S, S), decided by the picture and the seed that augmentation would have. */
export async function madeUpDecode(bytes: Uint8Array, { seed, imageSize }: DecodeSpec): Promise<NDArray<"f32">> {
  if (bytes[1] === 1) throw new ToklipError("IMAGE_UNREADABLE", "image: is damaged");
  const random = new Random(seed ^ bytes[0]!);
  return ndarray(
    "f32",
    [3, imageSize, imageSize],
    Float32Array.from({ length: 3 * imageSize ** 2 }, () => random.uniform()),
  );
}

/** The first `count` of what comes. */
export async function take<T>(items: AsyncIterable<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  for await (const item of items) if (taken.push(item) === count) break;
  return taken;
}
