/**
 * The beginning of a run: a new folder, or the place in an old one where training goes on.
 *
 *     config.json                    the whole configuration
 *     metrics.jsonl, events.out.*    what was measured, for programs and for TensorBoard
 *     loss-curve.svg, .png           the same as a drawing
 *     samples/step-00000100/         pictures
 *     checkpoints/step-00000100/     where it can go on from
 */
import { type ErrorCode, messageOf, ToklipError } from "../core/index.ts";
import type { JsonValue } from "../data/dataset.ts";
import { CHECKPOINTS, stepOfFolder } from "./checkpoint.ts";
import { type CheckpointPlace, CheckpointStore, type SkippedCheckpoint } from "./checkpoint-store.ts";
import type { Communicator } from "./communicator.ts";
import { type ConfigDifference, configDifferences, configFingerprint } from "./config-difference.ts";
import { locate, type RunStorage, readText, writeWhole } from "./run-storage.ts";

const CONFIG = "config.json";
const MOST_DIFFERENCES = 8;

/** How a run begins. */
export interface RunFolderOptions {
  readonly storage: RunStorage;
  /** The validated, complete configuration. */
  readonly config: JsonValue;
  /**
   * Paths of keys that a resumed run may change, each with all that is below it: the number of steps, how often
   * something is logged, evaluated or saved.
   */
  readonly mayDiffer?: readonly string[];
  /** Goes on with the run in the folder, from its last whole checkpoint; begins one where there is none. */
  readonly resume?: boolean;
  readonly communicator: Communicator;
}

/** A folder that is ready for a run. */
export interface RunFolder {
  readonly storage: RunStorage;
  readonly configHash: string;
  /** Where to go on from; absent for a run that begins. */
  readonly resumeFrom?: CheckpointPlace;
  /** Folders that were no usable checkpoints. Known to rank 0 only. */
  readonly skipped: readonly SkippedCheckpoint[];
  /** Rank 0 only: others read. */
  readonly checkpoints?: CheckpointStore;
  /** Rank 0 only: writes the configuration. Until then the folder holds no run, so that a mistake can be corrected. */
  readonly begin?: () => Promise<void>;
}

/** What rank 0 tells the others. */
type Opening = { readonly place?: CheckpointPlace } | { readonly code: ErrorCode; readonly message: string };

/**
 * Makes a folder ready: rank 0 checks and tidies up, all processes get the same answer. Quick beside loading a model, so
 * that mistakes are told first.
 * @throws FILE_EXISTS where a run would be overwritten; RESUME_MISMATCH naming the keys that differ; FILE_CORRUPT where
 *   no checkpoint can be used; FILE_WRITE_FAILED, FILE_READ_FAILED
 */
export async function openRunFolder(options: RunFolderOptions): Promise<RunFolder> {
  const { storage, communicator, config, mayDiffer } = options;
  const configHash = configFingerprint(config, mayDiffer);
  if (communicator.rank > 0) {
    const opening = JSON.parse(await communicator.broadcast("")) as Opening;
    if ("code" in opening) throw new ToklipError(opening.code, opening.message);
    return { storage, configHash, skipped: [], ...(opening.place && { resumeFrom: opening.place }) };
  }
  try {
    const { checkpoints, place } = await prepare(options);
    await communicator.broadcast(JSON.stringify({ place } satisfies { place: CheckpointPlace | undefined }));
    const begin = () => writeWhole(storage, CONFIG, `${JSON.stringify(config, undefined, 2)}\n`);
    const { skipped } = checkpoints;
    return { storage, configHash, skipped, checkpoints, begin, ...(place && { resumeFrom: place }) };
  } catch (thrown) {
    const code = thrown instanceof ToklipError ? thrown.code : "INTERNAL";
    await communicator.broadcast(JSON.stringify({ code, message: messageOf(thrown) } satisfies Opening));
    throw thrown;
  }
}

async function prepare({ storage, config, mayDiffer, resume = false }: RunFolderOptions) {
  const checkpoints = await CheckpointStore.open(storage);
  const steps = await stepsOf(storage);
  const hasConfig = (await storage.list("")).includes(CONFIG);
  if (!resume && (hasConfig || steps.length > 0)) throw existing(storage, steps);
  if (hasConfig) await compareConfigs(storage, config, mayDiffer);
  const place = await checkpoints.latest();
  await checkpoints.clean();
  return { checkpoints, place };
}

async function stepsOf(storage: RunStorage): Promise<readonly number[]> {
  return (await storage.list(CHECKPOINTS)).map(stepOfFolder).filter((step) => step !== undefined);
}

function existing(storage: RunStorage, steps: readonly number[]): ToklipError {
  const far = steps.length === 0 ? "" : ` (step ${Math.max(...steps)})`;
  const advice = "continue it with --resume, or name another folder";
  return new ToklipError("FILE_EXISTS", `${storage.name}: holds a run already${far}: ${advice}`);
}

async function compareConfigs(
  storage: RunStorage,
  config: JsonValue,
  mayDiffer: readonly string[] | undefined,
): Promise<void> {
  const differences = await differencesFrom(storage, config, mayDiffer);
  if (differences.length === 0) return;
  const named = differences.slice(0, MOST_DIFFERENCES).map(describeDifference).join("; ");
  const more = differences.length - MOST_DIFFERENCES;
  throw new ToklipError(
    "RESUME_MISMATCH",
    `${storage.name}: the run was begun with another configuration: ${named}${more > 0 ? `; and ${more} more` : ""}`,
  );
}

async function differencesFrom(storage: RunStorage, config: JsonValue, mayDiffer: readonly string[] | undefined) {
  const text = await readText(storage, CONFIG);
  try {
    return configDifferences(JSON.parse(text) as JsonValue, config, mayDiffer);
  } catch (thrown) {
    // Not JSON, or nested so deeply that comparing it overflows the stack.
    throw new ToklipError("FILE_CORRUPT", `${locate(storage, CONFIG)}: ${messageOf(thrown)}`, { cause: thrown });
  }
}

function describeDifference({ path, before, after }: ConfigDifference): string {
  const text = (value: JsonValue | undefined): string => (value === undefined ? "absent" : JSON.stringify(value));
  return `${path === "" ? "all of it" : path} was ${text(before)}, now ${text(after)}`;
}
