/** Features of texts as rows: held in memory where they fit, else asked of the model again at each pass. */
import { type LongCallOptions, type NDArray, throwIfAborted } from "../core/index.ts";
import type { TokLIPModel } from "../pipelines/model.ts";
import type { FeatureBlock, FeatureRows } from "./feature-rows.ts";

/** Texts encoded in one run of the text tower. */
const TEXT_BATCH = 64;
const HELD_BYTES = 2 ** 29;

/**
 * Encodes texts, each being the key of its row; none has a label.
 * @param encoder a session's, which keeps what it has encoded: then a second pass reads and does not compute
 * @param width of a feature
 */
export async function textRows(
  encoder: Pick<TokLIPModel, "encodeText">,
  texts: readonly string[],
  width: number,
  { signal, onProgress }: LongCallOptions = {},
): Promise<FeatureRows> {
  async function* blocks(options: LongCallOptions = {}): AsyncGenerator<FeatureBlock> {
    for (let begin = 0; begin < texts.length; begin += TEXT_BATCH) {
      throwIfAborted(options.signal, "texts");
      options.onProgress?.({ stage: "texts", done: begin, total: texts.length, unit: "texts" });
      const keys = texts.slice(begin, begin + TEXT_BATCH);
      const { data }: NDArray<"f32"> = await encoder.encodeText(keys, { signal: options.signal });
      yield { features: data, keys, labels: new Int32Array(keys.length).fill(-1) };
    }
    options.onProgress?.({ stage: "texts", done: texts.length, total: texts.length, unit: "texts" });
  }
  const rows = { size: texts.length, width, classes: [] };
  if (4 * width * texts.length > HELD_BYTES) return { ...rows, blocks };
  const held: FeatureBlock[] = [];
  for await (const block of blocks({ signal, onProgress })) held.push(block);
  return {
    ...rows,
    async *blocks() {
      yield* held;
    },
  };
}
