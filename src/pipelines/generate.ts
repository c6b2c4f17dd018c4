/**
 * Generation of image ids, one after the other, for any decoder that gives logits: guidance, sampling by seed, previews of
 * the picture as it grows.
 *
 * Dim letters: B pictures, V vocabulary, h w grid.
 */
import { type LongCallOptions, type NDArray, ndarray, Random, ToklipError, throwIfAborted } from "../core/index.ts";
import {
  argmax,
  checkSampling,
  drawId,
  type GuidanceOptions,
  guide,
  isGuided,
  type SamplingOptions,
  samplingBuffers,
} from "./sampling.ts";

/** Sequences that grow by one id a step. */
export interface IdStream {
  /**
   * Logits f32 (rows * V) of the next id: first without ids, after the condition; then after one id for each row. Rows are
   * the pictures, and with guidance the pictures again without their condition.
   */
  next(ids: Int32Array<ArrayBuffer> | undefined, options?: LongCallOptions): Promise<Float32Array>;
  /** Frees the caches. */
  dispose(): Promise<void>;
}

/** A model that generates ids for prompts of some kind. */
export interface IdDecoder<P> {
  readonly vocabSize: number;
  /** The side of the grid of ids. */
  readonly side: number;
  /** Begins a sequence for each picture of the prompt; with guidance one more for each, without its condition. */
  start(prompt: P, guided: boolean, options?: LongCallOptions): Promise<IdStream>;
  /** Frees the model. */
  dispose(): Promise<void>;
}

/** How pictures are generated. */
export interface GenerateOptions<T = never> extends SamplingOptions, LongCallOptions {
  /** Picture i of the batch draws by seed + i, whatever else is in the batch; 0. */
  readonly seed?: number | undefined;
  /** Takes the likeliest id instead of drawing; false. */
  readonly greedy?: boolean | undefined;
  readonly guidance?: GuidanceOptions | undefined;
  readonly preview?: PreviewOptions<T> | undefined;
}

/** Pictures of what there is so far. */
export interface PreviewOptions<T> {
  /** After each so many ids. */
  readonly every: number;
  /** Decodes ids i32 (B, h, w); those that are not there yet repeat the last. */
  decode(ids: NDArray<"i32">): Promise<T>;
}

/** One id of each picture. */
export interface GeneratedIds<T = never> {
  /** How many ids each picture has now. */
  readonly count: number;
  /** The ids of this step, one for each picture. */
  readonly ids: Int32Array<ArrayBuffer>;
  /** What the preview's `decode` gave, after the steps that have one. */
  readonly preview?: T;
}

/** @throws ARGUMENT_INVALID for an option outside of its range */
export function checkGenerateOptions({ seed = 0, guidance, preview, ...sampling }: GenerateOptions<unknown>): void {
  const fail = (message: string): never => {
    throw new ToklipError("ARGUMENT_INVALID", message);
  };
  checkSampling(sampling);
  if (!Number.isSafeInteger(seed)) fail(`seed ${seed}: expected a whole number`);
  if (guidance && !Number.isFinite(guidance.scale)) fail(`guidance scale ${guidance.scale}: expected a number`);
  if (guidance?.interval !== undefined && !Number.isInteger(guidance.interval)) {
    fail(`guidance interval ${guidance.interval}: expected a whole number`);
  }
  if (preview && !(Number.isInteger(preview.every) && preview.every >= 1)) {
    fail(`preview every ${preview.every} ids: expected a whole number, 1 or more`);
  }
}

/**
 * Chooses an id for each sequence from the logits of a step, those of `IdStream.next`, and writes it into `out`: by a random
 * stream of the sequence's own.
 */
export function idChooser<T>(
  vocabulary: number,
  options: GenerateOptions<T>,
): (logits: Float32Array, step: number, out: Int32Array) => void {
  const { seed = 0, greedy = false, guidance } = options;
  const buffers = samplingBuffers(vocabulary);
  const scores = new Float32Array(vocabulary);
  const randoms: Random[] = [];
  return (logits, step, out) => {
    const row = (index: number) => logits.subarray(index * vocabulary, (index + 1) * vocabulary);
    for (let i = 0; i < out.length; i++) {
      if (guidance && isGuided(step, guidance)) guide(row(i), row(out.length + i), guidance.scale, scores);
      else scores.set(row(i));
      randoms[i] ??= new Random(seed + i);
      out[i] = greedy ? argmax(scores) : drawId(scores, randoms[i]!.uniform(), options, buffers);
    }
  };
}

/** A grid of ids, each picture's last repeated where there is none yet. */
function unfinished(grid: NDArray<"i32">, count: number): NDArray<"i32"> {
  const [batch, h, w] = grid.shape as [number, number, number];
  const out = ndarray("i32", grid.shape, grid.data.slice());
  for (let i = 0; i < batch; i++) out.data.fill(out.data[i * h * w + count - 1]!, i * h * w + count, (i + 1) * h * w);
  return out;
}

/**
 * Generates the ids of a picture for each row of a prompt, and gives them step by step. The iteration's return value is
 * the whole, i32 (B, h, w). Ends early, and frees what it holds, when it is left or aborted.
 * @throws ABORTED; ARGUMENT_INVALID; LOGITS_INVALID where the model gives no numbers; what the decoder throws for a prompt
 */
export async function* generateIds<P, T = never>(
  decoder: IdDecoder<P>,
  prompt: P,
  options: GenerateOptions<T> = {},
): AsyncGenerator<GeneratedIds<T>, NDArray<"i32">, undefined> {
  checkGenerateOptions(options);
  const { signal, onProgress, guidance, preview } = options;
  const { side, vocabSize } = decoder;
  const total = side * side;
  throwIfAborted(signal, "generate");
  const guided = guidance !== undefined && guidance.scale > 1;
  const stream = await decoder.start(prompt, guided, { signal });
  try {
    const choose = idChooser(vocabSize, options);
    let logits = await stream.next(undefined, { signal });
    const batch = logits.length / vocabSize / (guided ? 2 : 1);
    const grid = ndarray("i32", [batch, side, side]);
    for (let step = 0; ; ) {
      const ids = new Int32Array(batch);
      choose(logits, step, ids);
      ids.forEach((id, i) => {
        grid.data[i * total + step] = id;
      });
      step++;
      onProgress?.({ stage: "generate", done: step, total, unit: "steps" });
      const shown = preview && step % preview.every === 0 ? await preview.decode(unfinished(grid, step)) : undefined;
      yield { count: step, ids, ...(shown !== undefined && { preview: shown }) };
      throwIfAborted(signal, "generate");
      if (step === total) return grid;
      logits = await stream.next(guided ? Int32Array.from([...ids, ...ids]) : ids, { signal });
    }
  } finally {
    await stream.dispose();
  }
}

/** As `generateIds`, all at once: ids i32 (B, h, w). `onStep` is told of each step. */
export async function generateGrid<P, T = never>(
  decoder: IdDecoder<P>,
  prompt: P,
  { onStep, ...options }: GenerateOptions<T> & { readonly onStep?: (step: GeneratedIds<T>) => void } = {},
): Promise<NDArray<"i32">> {
  const steps = generateIds(decoder, prompt, options);
  for (;;) {
    const { done, value } = await steps.next();
    if (done) return value;
    onStep?.(value);
  }
}
