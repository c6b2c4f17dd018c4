/**
 * Holds a checkpoint against a configuration. The reference silently keeps random weights where a name or shape does
 * not fit; here every missing, unexpected or mis-shaped tensor is an error that names it.
 */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import type { ToklipConfig } from "./config.ts";
import { imageGraphs, PREFIXES, parameterShapes } from "./toklip.ts";

/** Tensors that a checkpoint may hold and that no output depends on. */
const UNUSED = [/^logit_(scale|bias)$/, /^visual\.trunk\.vq\.quantize\.codebook_used$/];

/** Whether a checkpoint has a text tower. */
export function hasTextTower({ tensors }: Checkpoint): boolean {
  return [...tensors.keys()].some((name) => name.startsWith(`${PREFIXES.text}.`));
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

/**
 * Checks that a checkpoint holds exactly the parameters of a model.
 * @throws CHECKPOINT_MISMATCH naming the first tensors that are mis-shaped, missing or unexpected.
 */
export function checkCheckpoint(checkpoint: Checkpoint, config: ToklipConfig, textTower: boolean): void {
  const expected = parameterShapes(config, [...imageGraphs(config), ...(textTower ? (["text_encoder"] as const) : [])]);
  const fail = (what: string): never => {
    throw new ToklipError("CHECKPOINT_MISMATCH", `${checkpoint.name} is not a ${config.name}: ${what}`);
  };
  const { tensors } = checkpoint;
  for (const [name, shape] of expected) {
    const found = tensors.get(name);
    if (found && found.shape.join() !== shape.join()) fail(`${name} expected [${shape}], got [${found.shape}]`);
  }
  const missing = [...expected.keys()].filter((name) => !tensors.has(name));
  if (missing.length > 0) fail(`missing ${list(missing)}`);
  const skipped = (name: string) =>
    UNUSED.some((unused) => unused.test(name)) || (!textTower && name.startsWith("text."));
  const unexpected = [...tensors.keys()].filter((name) => !expected.has(name) && !skipped(name));
  if (unexpected.length > 0) fail(`unexpected ${list(unexpected)}`);
}
