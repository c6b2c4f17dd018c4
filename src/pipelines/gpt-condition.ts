/**
 * What a GPT of LlamaGen is asked for: classes, or features of captions with their padding. What is fed for nothing, the
 * other half of guidance, is made here too.
 *
 * Dim letters: B batch, T condition positions, W width of the features.
 */
import { concatRows, type NDArray, ndarray, ToklipError } from "../core/index.ts";
import type { CaptionCondition, GptConfig } from "../models/index.ts";

/** Classes i32 (B), each in [0, classes). */
export interface ClassPrompt {
  readonly labels: NDArray<"i32">;
}

/** Features of captions, as `alignCaptions` places them. */
export interface CaptionPrompt {
  /** f32 (B, T, W), 0 where there is padding. */
  readonly features: NDArray<"f32">;
  /** f32 (B, T), 1 where a position holds a token, 0 where there is padding. Absent: padding is seen, as any token. */
  readonly valid?: NDArray<"f32">;
}

/** What pictures are generated for. */
export type GptPrompt = ClassPrompt | CaptionPrompt;

/**
 * Places features of captions, each f32 (its length, W), as LlamaGen was trained: at the end of T positions, with zeros
 * before; of a longer caption the first T.
 * @throws SHAPE_MISMATCH where a caption has no token, or another width
 */
export function alignCaptions(
  captions: readonly NDArray<"f32">[],
  { tokens, width }: CaptionCondition,
): Required<CaptionPrompt> {
  const features = ndarray("f32", [captions.length, tokens, width]);
  const valid = ndarray("f32", [captions.length, tokens]);
  for (const [row, { shape, data }] of captions.entries()) {
    const [length = 0, found] = shape;
    if (shape.length !== 2 || length < 1 || found !== width) {
      throw new ToklipError("SHAPE_MISMATCH", `caption ${row}: expected features (length, ${width}), got [${shape}]`);
    }
    const kept = Math.min(length, tokens);
    const end = (row + 1) * tokens;
    features.data.set(data.subarray(0, kept * width), (end - kept) * width);
    valid.data.fill(1, end - kept, end);
  }
  return { features, valid };
}

/** @throws SHAPE_MISMATCH unless an array has this shape behind a batch of at least 1 */
function checkShape(what: string, { shape }: NDArray, expected: readonly number[]): void {
  if (shape[0]! >= 1 && shape.join() === [shape[0], ...expected].join()) return;
  throw new ToklipError("SHAPE_MISMATCH", `${what}: expected (${["B", ...expected].join(", ")}), got [${shape}]`);
}

function checkLabels({ data }: NDArray<"i32">, classes: number): void {
  const wrong = data.find((label) => label < 0 || label >= classes);
  if (wrong !== undefined) throw new ToklipError("ARGUMENT_INVALID", `class ${wrong} is not in [0, ${classes})`);
}

function checkCaptions({ features, valid }: CaptionPrompt, { tokens, width }: CaptionCondition): void {
  checkShape("features", features, [tokens, width]);
  if (!features.data.every(Number.isFinite)) {
    throw new ToklipError("ARGUMENT_INVALID", "the features of the captions hold what is no finite number");
  }
  if (valid === undefined) return;
  checkShape("valid", valid, [tokens]);
  const [rows, captions] = [valid.shape[0], features.shape[0]];
  if (rows !== captions) throw new ToklipError("SHAPE_MISMATCH", `valid: expected ${captions} rows, got ${rows}`);
}

/**
 * Holds a prompt against a model.
 * @throws ARGUMENT_INVALID for another kind of condition, a class that there is not, or features that are no numbers;
 * SHAPE_MISMATCH
 */
export function checkPrompt(prompt: GptPrompt, { name, condition }: GptConfig): void {
  if (condition.kind === "class" && "labels" in prompt) {
    checkShape("labels", prompt.labels, []);
    checkLabels(prompt.labels, condition.classes);
  } else if (condition.kind === "caption" && "features" in prompt) {
    checkCaptions(prompt, condition);
  } else {
    const wanted = condition.kind === "class" ? "a class" : "features of a caption";
    throw new ToklipError("ARGUMENT_INVALID", `${name}: the condition is ${wanted}`);
  }
}

/** What the graph of the condition is fed, and which padding is seen: with guidance, all rows and then all again, dropped. */
export interface ConditionRows {
  readonly condition: NDArray<"i32" | "f32">;
  readonly drop: NDArray<"bool">;
  readonly valid: NDArray<"f32"> | undefined;
}

/** The rows of a prompt, twice where it is guided. */
export function conditionRows(prompt: GptPrompt, guided: boolean): ConditionRows {
  const twice = <D extends "i32" | "f32">(array: NDArray<D>) => (guided ? concatRows([array, array]) : array);
  const condition = "labels" in prompt ? twice(prompt.labels) : twice(prompt.features);
  const drop = ndarray("bool", [condition.shape[0]!]);
  if (guided) drop.data.fill(1, drop.data.length / 2);
  const valid = "labels" in prompt || prompt.valid === undefined ? undefined : twice(prompt.valid);
  return { condition, drop, valid };
}
