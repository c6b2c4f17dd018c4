/**
 * One checkpoint: a folder `checkpoints/step-00000100/` with the trainer's tensors as `<file>.safetensors`, the state of
 * the run as `run.json`, and `manifest.json`, which is written last and lists the others with sizes and checksums.
 * Without a manifest a folder is no checkpoint; so there is either a whole one or none, whenever the process dies.
 */
import { z } from "zod";
import { type ByteSink, type ByteSource, bytesOf, messageOf, type NDArray, ToklipError } from "../core/index.ts";
import type { DataPosition, JsonValue } from "../data/dataset.ts";
import { crc32c } from "../files/crc32c.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../files/index.ts";
import { locate, type RunStorage, readText, writeWhole } from "./run-storage.ts";
import type { TensorMap, TrainerState } from "./trainer.ts";

/** The folder that holds the folders of checkpoints. */
export const CHECKPOINTS = "checkpoints";

const FORMAT = 1;
const MANIFEST = "manifest.json";
const RUN = "run.json";
const TENSORS = /^([a-z0-9][a-z0-9_-]*)\.safetensors$/;
const FOLDER = /^step-(\d{8,15})$/;
/** How much is written, read and summed at once. */
const PIECE_BYTES = 8 * 2 ** 20;

/** The evaluation that was best so far. */
export interface BestEvaluation {
  readonly step: number;
  readonly value: number;
}

/** What one process of the run must know to go on, besides its tensors. */
export interface ProcessState {
  /** Where its data stands: right after the last batch that was used. */
  readonly position: DataPosition;
  /** `TrainerState.json`. */
  readonly trainer: JsonValue;
}

/** The state of a run between two steps. */
export interface RunState {
  /** The number of steps that are done. */
  readonly step: number;
  /** Seconds spent so far, those of earlier sessions included. */
  readonly seconds: number;
  readonly best: BestEvaluation | null;
  /** Of the configuration that the run was begun with: `configFingerprint`. */
  readonly configHash: string;
  /** One for each process, by rank. */
  readonly processes: readonly ProcessState[];
}

/** What a checkpoint holds. */
export interface CheckpointContent {
  readonly run: RunState;
  readonly files: TrainerState["files"];
}

const runSchema = z.object({
  format: z.literal(FORMAT),
  step: z.int().nonnegative(),
  seconds: z.number(),
  best: z.object({ step: z.int(), value: z.number() }).nullable(),
  configHash: z.string(),
  processes: z.array(z.object({ position: z.looseObject({ epoch: z.number() }), trainer: z.unknown() })).nonempty(),
});

const fileSchema = z.object({ bytes: z.int().nonnegative(), crc32c: z.string() });
const manifestSchema = z.object({
  format: z.literal(FORMAT),
  step: z.int().nonnegative(),
  files: z
    .record(z.string().regex(/^[a-z0-9][a-z0-9_-]*\.(safetensors|json)$/), fileSchema)
    .refine((files) => Object.hasOwn(files, RUN), `${RUN} is missing`),
});

/** What `manifest.json` says. */
export type CheckpointManifest = z.infer<typeof manifestSchema>;

/** The folder of the checkpoint after `step` steps. */
export function checkpointFolder(step: number): string {
  return `${CHECKPOINTS}/step-${String(step).padStart(8, "0")}`;
}

/** The step of a checkpoint's folder name, without what is above it; undefined for another name. */
export function stepOfFolder(name: string): number | undefined {
  const digits = FOLDER.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * Writes a checkpoint; what is left of an earlier attempt at the same step goes first. When that fails, the half-written
 * folder is removed as far as possible.
 * @returns the folder
 * @throws FILE_WRITE_FAILED; ARGUMENT_INVALID for a name of a file, or a state that JSON cannot hold
 */
export async function writeCheckpoint(storage: RunStorage, { run, files }: CheckpointContent): Promise<string> {
  const folder = checkpointFolder(run.step);
  await removeCheckpoint(storage, folder);
  try {
    const written: CheckpointManifest["files"] = {};
    for (const [name, tensors] of Object.entries(files)) {
      const fileName = `${name}.safetensors`;
      if (!TENSORS.test(fileName)) throw new ToklipError("ARGUMENT_INVALID", `checkpoint: ${name} cannot name a file`);
      written[fileName] = await writeSummed(storage, `${folder}/${fileName}`, (sink) => writeTensors(sink, tensors));
    }
    const text = new TextEncoder().encode(stringify({ format: FORMAT, ...run }, "the state of the run"));
    written[RUN] = await writeSummed(storage, `${folder}/${RUN}`, (sink) => sink.write(text));
    const manifest: CheckpointManifest = { format: FORMAT, step: run.step, files: written };
    await writeWhole(storage, `${folder}/${MANIFEST}`, `${JSON.stringify(manifest, undefined, 2)}\n`);
    await storage.sync(CHECKPOINTS);
    return folder;
  } catch (thrown) {
    await removeCheckpoint(storage, folder).catch(() => undefined); // the failure itself is what is told
    throw thrown;
  }
}

/** Removes a checkpoint, the manifest first: what a crash leaves of it is no checkpoint. @throws FILE_WRITE_FAILED */
export async function removeCheckpoint(storage: RunStorage, folder: string): Promise<void> {
  await storage.remove(`${folder}/${MANIFEST}`);
  await storage.remove(folder);
}

/**
 * JSON without the silent changes of `JSON.stringify`, which makes null of NaN and infinities.
 * @throws ARGUMENT_INVALID
 */
export function stringify(value: unknown, what: string): string {
  return JSON.stringify(value, (key, held: unknown) => {
    if (typeof held !== "number" || Number.isFinite(held)) return held;
    throw new ToklipError("ARGUMENT_INVALID", `${what}: ${key} is ${held}, which JSON cannot hold`);
  });
}

async function writeTensors(sink: ByteSink, tensors: TensorMap): Promise<void> {
  const specs = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  await writeSafetensors(sink, specs, (name) => piecesOf(tensors.get(name)!), { format: "pt" });
}

async function* piecesOf({ data }: NDArray): AsyncGenerator<Uint8Array> {
  const bytes = bytesOf(data);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/** Writes a file and sums what goes into it. */
async function writeSummed(
  storage: RunStorage,
  path: string,
  write: (sink: ByteSink) => Promise<void>,
): Promise<CheckpointManifest["files"][string]> {
  const sink = await storage.create(path);
  try {
    let [bytes, crc] = [0, 0];
    await write({
      async write(piece) {
        crc = crc32c(piece, crc);
        bytes += piece.byteLength;
        await sink.write(piece);
      },
    });
    await sink.commit();
    return { bytes, crc32c: hex(crc) };
  } catch (thrown) {
    await sink.abort();
    throw thrown;
  }
}

/**
 * Reads a checkpoint's manifest and compares the sizes of its files; quick.
 * @returns the manifest; undefined for a folder that has none, which a killed run leaves behind
 * @throws FILE_CORRUPT, FILE_NOT_FOUND, FILE_READ_FAILED
 */
export async function checkSizes(storage: RunStorage, folder: string): Promise<CheckpointManifest | undefined> {
  if (!(await storage.list(folder)).includes(MANIFEST)) return undefined;
  const manifest = await readJson(storage, `${folder}/${MANIFEST}`, manifestSchema);
  if (checkpointFolder(manifest.step) !== folder) {
    throw new ToklipError("FILE_CORRUPT", `${folder}/${MANIFEST}: is of step ${manifest.step}`);
  }
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    await withSource(storage, `${folder}/${name}`, async ({ byteLength }) => {
      if (byteLength === bytes) return;
      throw new ToklipError("FILE_CORRUPT", `${folder}/${name}: has ${byteLength} bytes, ${bytes} were written`);
    });
  }
  return manifest;
}

/** Reads every byte of a checkpoint and compares the checksums. @throws FILE_CORRUPT, FILE_NOT_FOUND, FILE_READ_FAILED */
export async function checkSums(storage: RunStorage, folder: string, manifest: CheckpointManifest): Promise<void> {
  for (const [name, expected] of Object.entries(manifest.files)) {
    await withSource(storage, `${folder}/${name}`, async (source) => {
      let crc = 0;
      for (let at = 0; at < source.byteLength; at += PIECE_BYTES) {
        crc = crc32c(await source.read(at, Math.min(PIECE_BYTES, source.byteLength - at)), crc);
      }
      if (hex(crc) === expected.crc32c) return;
      throw new ToklipError("FILE_CORRUPT", `${folder}/${name}: has checksum ${hex(crc)}, expected ${expected.crc32c}`);
    });
  }
}

/** Reads a checkpoint. @throws FILE_CORRUPT, FILE_NOT_FOUND, FILE_READ_FAILED, OUT_OF_MEMORY */
export async function readCheckpoint(storage: RunStorage, folder: string): Promise<CheckpointContent> {
  const { format: _, ...run } = await readJson(storage, `${folder}/${RUN}`, runSchema);
  const manifest = await readJson(storage, `${folder}/${MANIFEST}`, manifestSchema);
  const files: Record<string, TensorMap> = {};
  for (const fileName of Object.keys(manifest.files)) {
    const name = TENSORS.exec(fileName)?.[1];
    if (name !== undefined) files[name] = await withSource(storage, `${folder}/${fileName}`, readTensors);
  }
  return { run: run as RunState, files };
}

async function readTensors(source: ByteSource): Promise<TensorMap> {
  const { tensors } = await openSafetensors(source);
  const arrays = new Map<string, NDArray>();
  for (const [name, entry] of tensors) arrays.set(name, await readTensor(entry));
  return arrays;
}

async function readJson<T>(storage: RunStorage, path: string, schema: z.ZodType<T>): Promise<T> {
  const text = await readText(storage, path);
  try {
    return schema.parse(JSON.parse(text));
  } catch (thrown) {
    const problem = thrown instanceof z.ZodError ? describeIssue(thrown) : messageOf(thrown);
    throw new ToklipError("FILE_CORRUPT", `${locate(storage, path)}: ${problem}`, { cause: thrown });
  }
}

function describeIssue({ issues: [issue] }: z.ZodError): string {
  return issue === undefined ? "is not what it should be" : `${issue.path.join(".")}: ${issue.message}`;
}

async function withSource<T>(storage: RunStorage, path: string, work: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await storage.open(path);
  try {
    return await work(source);
  } finally {
    await source.close?.();
  }
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, "0");
}
