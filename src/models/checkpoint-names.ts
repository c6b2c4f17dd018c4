/**
 * Holds a checkpoint against a configuration. The reference silently keeps random weights where a name or shape does
 * not fit; here every missing, unexpected or mis-shaped tensor is an error that names it.
 */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import type { ToklipConfig } from "./config.ts";
import { type GraphName, imageGraphs, PREFIXES, parameterShapes } from "./toklip.ts";

/** Tensors that a checkpoint may hold and that no output depends on. */
const UNUSED = [/^logit_(scale|bias)$/, /^visual\.trunk\.vq\.quantize\.codebook_used$/];

/** Whether some tensor's name begins so. */
function hasPrefix({ tensors }: Checkpoint, prefix: string): boolean {
  return [...tensors.keys()].some((name) => name.startsWith(`${prefix}.`));
}

/** Whether a checkpoint has a text tower. */
export function hasTextTower(checkpoint: Checkpoint): boolean {
  return hasPrefix(checkpoint, PREFIXES.text);
}

/** A bare image tokenizer, as LlamaGen releases it, under the names it has inside a TokLIP; others as they are. */
export function withModelNames(checkpoint: Checkpoint): Checkpoint {
  const { tensors } = checkpoint;
  if (!tensors.has("quantize.embedding.weight") || hasPrefix(checkpoint, PREFIXES.trunk)) return checkpoint;
  const renamed = new Map([...tensors].map(([name, entry]) => [`${PREFIXES.vq}.${name}`, entry]));
  return { ...checkpoint, tensors: renamed, close: () => checkpoint.close() };
}

/**
 * The graphs that a checkpoint is to be run for: both towers, or one of them where the other is not there (or no text
 * tower is wanted), or the VQ alone where there is nothing else.
 */
export function checkpointGraphs(
  checkpoint: Checkpoint,
  config: ToklipConfig,
  textTower?: boolean,
): readonly GraphName[] {
  const text = textTower ?? hasTextTower(checkpoint);
  const image = imageGraphsOf(checkpoint, config, text);
  return text ? [...image, "text_encoder"] : image;
}

function imageGraphsOf(checkpoint: Checkpoint, config: ToklipConfig, text: boolean): readonly GraphName[] {
  const visual = [...checkpoint.tensors.keys()].filter((name) => name.startsWith("visual."));
  if (visual.length === 0 && text) return [];
  const onlyVq = visual.length > 0 && visual.every((name) => name.startsWith(`${PREFIXES.vq}.`));
  return onlyVq && config.vq && !text ? ["vq_encoder", "vq_decoder"] : imageGraphs(config);
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

/**
 * Checks that a checkpoint holds exactly these parameters, and beside them only what nothing reads.
 * @param what the model's name, for the message
 * @throws CHECKPOINT_MISMATCH naming the first tensors that are mis-shaped, missing or unexpected.
 */
export function checkTensors(
  { name: file, tensors }: Checkpoint,
  what: string,
  expected: ReadonlyMap<string, readonly number[]>,
  unread: (name: string) => boolean,
): void {
  const fail = (why: string): never => {
    throw new ToklipError("CHECKPOINT_MISMATCH", `${file} is not a ${what}: ${why}`);
  };
  for (const [name, shape] of expected) {
    const found = tensors.get(name);
    if (found && found.shape.join() !== shape.join()) fail(`${name} expected [${shape}], got [${found.shape}]`);
  }
  const missing = [...expected.keys()].filter((name) => !tensors.has(name));
  if (missing.length > 0) fail(`missing ${list(missing)}`);
  const unexpected = [...tensors.keys()].filter((name) => !expected.has(name) && !unread(name));
  if (unexpected.length > 0) fail(`unexpected ${list(unexpected)}`);
}

/**
 * Checks that a checkpoint holds exactly the parameters of these graphs; a text tower that none of them reads may be
 * there.
 * @throws CHECKPOINT_MISMATCH naming the first tensors that are mis-shaped, missing or unexpected.
 */
export function checkCheckpoint(checkpoint: Checkpoint, config: ToklipConfig, graphs: readonly GraphName[]): void {
  const withText = graphs.includes("text_encoder");
  const unread = (name: string) =>
    UNUSED.some((unused) => unused.test(name)) || (!withText && name.startsWith("text."));
  checkTensors(checkpoint, config.name, parameterShapes(config, graphs), unread);
}
