/**
 * The pictures that a run of the unified transformer shows: for captions of held-out pictures, the picture as its ids have
 * it, and beside it what the model makes of the caption. They run in an engine of their own, which is gone afterwards.
 */
import { bytesOf, concatRows, memorySource, type NDArray, ndarray } from "../core/index.ts";
import type { Checkpoint } from "../files/index.ts";
import { type ArConfig, NAMES, type ToklipConfig } from "../models/index.ts";
import { ArDecoder, type FeatureEncoder } from "../pipelines/ar-decoder.ts";
import { arPictureDecoder } from "../pipelines/ar-picture.ts";
import { generateGrid } from "../pipelines/generate.ts";
import { GraphRunner } from "../pipelines/graph-runner.ts";
import { startTokenStream } from "../pipelines/token-stream.ts";
import type { Backend } from "../runtime/index.ts";
import type { TextTokenizer } from "../text/index.ts";
import type { ArTrainerOptions } from "../train/ar-trainer.ts";
import type { RunConfigs } from "../train/run-config.ts";
import type { TensorMap } from "../train/trainer.ts";
import { sideBySide } from "../train/vq-trainer.ts";
import { createOrtBackend } from "./ort-backend.ts";

/** What draws pictures. */
export interface SampleDrawerOptions {
  readonly model: ArConfig;
  /** The TokLIP whose ids they are. */
  readonly toklip: { readonly config: ToklipConfig; readonly checkpoint: Checkpoint };
  readonly tokenizer: TextTokenizer;
  readonly settings: RunConfigs["ar"]["samples"];
  readonly threads: number;
}

/** Makes the `draw` of a trainer. Each picture draws by a seed of its own, the same at every step of the run. */
export function sampleDrawer(options: SampleDrawerOptions): NonNullable<ArTrainerOptions["draw"]> {
  const { model, toklip, tokenizer, settings, threads } = options;
  const { guidance_scale: scale, temperature, top_k, top_p } = settings;
  const side = Math.sqrt(model.imageTokens);
  return async (parameters, examples) => {
    const backend = createOrtBackend({ threads });
    try {
      const runner = toklipRunner(backend, toklip, parameters);
      const checkpoint = inMemory("the run", parameters);
      const encoder = featureEncoder(runner, toklip.config);
      const decoder = await ArDecoder.open({ backend, checkpoint, config: model, encoder });
      const prompts = examples.map(({ caption }) => [{ text: tokenizer.idsOf(caption) }]);
      const made = await generateGrid(arPictureDecoder(decoder), prompts, {
        temperature,
        topK: top_k,
        topP: top_p,
        // A model that never missed its condition has nothing to be guided away from.
        ...(model.conditionDropout > 0 && { guidance: { scale } }),
      });
      const own = examples.map(({ picture }) => ndarray("i32", [1, side, side], picture.slice()));
      const pixels = async (ids: NDArray<"i32">) =>
        (await runner.run("vq_decoder", { [NAMES.ids]: ids }, {}))[NAMES.pixels]!;
      const [before, after] = [await pixels(concatRows(own)), await pixels(made)];
      return examples.map(({ caption }, i) => ({
        name: `${i}-${caption}`,
        pixels: sideBySide(before as NDArray<"f32">, after as NDArray<"f32">, i),
      }));
    } finally {
      await backend.dispose();
    }
  };
}

/** The TokLIP's graphs, with the token encoder as it is trained by now. */
function toklipRunner(
  backend: Backend,
  { config, checkpoint }: SampleDrawerOptions["toklip"],
  parameters: TensorMap,
): GraphRunner {
  const trained = inMemory(checkpoint.name, parameters).tensors;
  const merged = { ...checkpoint, tensors: new Map([...checkpoint.tensors, ...trained]), close: async () => {} };
  return new GraphRunner({ backend, checkpoint: merged, config, graphs: ["token_encoder", "vq_decoder"], options: {} });
}

function featureEncoder(runner: GraphRunner, config: ToklipConfig): FeatureEncoder {
  return {
    config,
    encodeFeatures: async (ids, options = {}) => {
      const { [NAMES.tokenFeatures]: tokens, [NAMES.imageFeatures]: image } = await runner.run(
        "token_encoder",
        { [NAMES.ids]: ids },
        options,
      );
      return { tokenFeatures: tokens as NDArray<"f32">, imageFeatures: image as NDArray<"f32"> };
    },
    startStream: async ({ batch = 1 } = {}) =>
      startTokenStream(await runner.session("token_encoder_step", {}), config, batch, () => {}),
  };
}

/** Tensors as a checkpoint. */
function inMemory(name: string, parameters: TensorMap): Checkpoint {
  const tensors = [...parameters].map(([key, { dtype, shape, data }]) => {
    const source = memorySource(bytesOf(data), key);
    return [key, { name: key, dtype, shape, offset: 0, source }] as const;
  });
  return { name, format: "safetensors", tensors: new Map(tensors), metadata: {}, close: async () => {} };
}
