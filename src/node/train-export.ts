/** A checkpoint of a run -> one .safetensors file in the reference's layout, frozen parts and configuration included. */
import { dirname, join } from "node:path";
import { bytesOf, type LongCallOptions, type NDArray, ToklipError, throwIfAborted } from "../core/index.ts";
import { type Checkpoint, readTensor, type TensorSpec, writeSafetensors } from "../files/index.ts";
import { arParameterShapes, PREFIXES, parameterShapes, type ToklipConfig } from "../models/index.ts";
import { arConfigMetadata } from "../pipelines/ar-files.ts";
import { configMetadata } from "../pipelines/model-files.ts";
import { checkpointFolder, readCheckpoint } from "../train/checkpoint.ts";
import { CheckpointStore } from "../train/checkpoint-store.ts";
import {
  type PictureRunConfig,
  parseRunConfig,
  type RunConfig,
  type RunConfigs,
  TRAINING_KINDS,
  type TrainingKind,
} from "../train/run-config.ts";
import { type RunStorage, readText } from "../train/run-storage.ts";
import type { TensorMap } from "../train/trainer.ts";
import { openAtomicFile } from "./atomic-file.ts";
import { openArConfig } from "./open-ar-run.ts";
import { readRunFolder } from "./run-folder.ts";
import { closeAll, openFrozenCheckpoints, openGiven, openModelConfig } from "./train-models.ts";

/** What to write. */
export interface ExportRunOptions extends LongCallOptions {
  /** The run's folder. */
  readonly run: string;
  /** The .safetensors file. Default `model.safetensors` in the run's folder. */
  readonly out?: string;
  /** Which checkpoint: the last whole one, the best evaluated one, or that of a step. Default `last`. */
  readonly checkpoint?: "last" | "best" | number;
  /** The parameters as they are, or their moving average. Default: the average where one is kept. */
  readonly weights?: "last" | "ema";
  readonly overwrite?: boolean;
}

interface Tensors {
  readonly specs: readonly TensorSpec[];
  readonly read: (name: string) => Promise<NDArray>;
}

/** The configuration that a run was begun with. @throws FILE_NOT_FOUND, FILE_CORRUPT, CONFIG_INVALID */
export async function readRunConfig(run: string): Promise<RunConfig> {
  const text = await readText(readRunFolder(run), "config.json");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new ToklipError("FILE_CORRUPT", `${join(run, "config.json")}: not JSON`, { cause: thrown });
  }
  const kind = (json as { readonly kind?: TrainingKind } | null)?.kind;
  if (kind === undefined || !TRAINING_KINDS.includes(kind)) {
    throw new ToklipError(
      "CONFIG_INVALID",
      `${join(run, "config.json")}: kind is not one of ${TRAINING_KINDS.join(", ")}`,
    );
  }
  return parseRunConfig(kind, json, join(run, "config.json"));
}

/**
 * Writes the model of a run; and of a unified transformer whose token encoder was trained with it, the TokLIP with that
 * encoder, as `toklip.safetensors` beside it.
 * @throws FILE_NOT_FOUND, FILE_CORRUPT, CONFIG_INVALID, CHECKPOINT_MISMATCH, FILE_EXISTS, FILE_WRITE_FAILED, ABORTED
 */
export async function exportRun(options: ExportRunOptions): Promise<{ out: string; step: number }> {
  const { run, out = join(run, "model.safetensors"), checkpoint = "last" } = options;
  const config = await readRunConfig(run);
  const storage = readRunFolder(run);
  const folder = await chosenFolder(storage, checkpoint);
  const { run: state, files } = await readCheckpoint(storage, folder);
  const weights = options.weights ?? (files.ema === undefined ? "last" : "ema");
  if (weights === "ema" && files.ema === undefined) {
    throw new ToklipError("ARGUMENT_INVALID", `${run}: no moving average was kept`);
  }
  const trained = new Map([...(files.model ?? []), ...(weights === "ema" ? files.ema! : [])]);
  const exported =
    config.kind === "ar" ? await arFiles(config, trained, out) : await pictureFiles(config, trained, out);
  try {
    for (const file of exported.files) await writeFile(file, state.step, options);
    return { out, step: state.step };
  } finally {
    await closeAll(exported.opened);
  }
}

/** A file to write. */
interface ExportedFile {
  readonly path: string;
  readonly tensors: Tensors;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Files to write, and the checkpoints that they are read from. */
interface Exported {
  readonly files: readonly ExportedFile[];
  readonly opened: readonly Checkpoint[];
}

async function pictureFiles(config: PictureRunConfig, trained: TensorMap, path: string): Promise<Exported> {
  const model = await openModelConfig(config.model);
  const opened = await openFrozenCheckpoints(config);
  try {
    const tensors = tensorsOf(namesOf(config, model, trained, opened), trained, opened);
    return { files: [{ path, tensors, metadata: configMetadata(model) }], opened };
  } catch (thrown) {
    await closeAll(opened);
    throw thrown;
  }
}

/** The transformer alone, and where its token encoder was trained, the TokLIP that has it. */
async function arFiles(config: RunConfigs["ar"], trained: TensorMap, path: string): Promise<Exported> {
  const model = await openArConfig(config.model);
  const own = tensorsOf([...arParameterShapes(model).keys()], trained, []);
  const files = [{ path, tensors: own, metadata: arConfigMetadata(model) }];
  if (config.toklip === null || config.token_encoder === "frozen") return { files, opened: [] };
  const { config: toklip, checkpoint } = await openGiven(config.toklip);
  const tensors = tensorsOf([...checkpoint.tensors.keys()], trained, [checkpoint]);
  const beside = { path: join(dirname(path), "toklip.safetensors"), tensors, metadata: configMetadata(toklip) };
  return { files: [...files, beside], opened: [checkpoint] };
}

async function writeFile(
  { path, tensors: { specs, read }, metadata }: ExportedFile,
  step: number,
  { overwrite, signal, onProgress }: ExportRunOptions,
): Promise<void> {
  const sink = await openAtomicFile(path, { overwrite, signal });
  let done = 0;
  async function* data(name: string): AsyncGenerator<Uint8Array> {
    throwIfAborted(signal, "export");
    yield bytesOf((await read(name)).data);
    onProgress?.({ stage: "export", item: name, done: ++done, total: specs.length, unit: "tensors" });
  }
  try {
    await writeSafetensors(sink, specs, data, { format: "pt", ...metadata, step: String(step) });
    await sink.commit();
  } catch (thrown) {
    await sink.abort();
    throw thrown;
  }
}

/** The folder of a checkpoint; which one is the best, the last one knows. */
async function chosenFolder(storage: RunStorage, asked: "last" | "best" | number): Promise<string> {
  const last = await (await CheckpointStore.open(storage)).latest();
  const missing = (what: string) =>
    new ToklipError("FILE_NOT_FOUND", `${storage.name}: there is no checkpoint ${what}`);
  if (last === undefined) throw missing("yet");
  if (asked === "last") return last.folder;
  const step = asked === "best" ? (await readCheckpoint(storage, last.folder)).run.best?.step : asked;
  if (step === undefined) throw missing("that an evaluation found best");
  const folder = checkpointFolder(step);
  if ((await storage.list(folder)).length === 0) throw missing(`of step ${step}`);
  return folder;
}

/** What the reference's TokLIP has besides its parameters: written where a checkpoint has it and training does not know it. */
const CARRIED = ["logit_scale", `${PREFIXES.vq}.quantize.codebook_used`];

/** What is trained, and what the model has besides. A VQ is written alone, as LlamaGen's. */
function namesOf(
  { kind }: PictureRunConfig,
  model: ToklipConfig,
  trained: TensorMap,
  frozen: readonly Checkpoint[],
): readonly string[] {
  const wanted = kind === "vq" ? [] : [...parameterShapes(model).keys()];
  const carried = kind === "toklip" ? CARRIED.filter((name) => frozen.some(({ tensors }) => tensors.has(name))) : [];
  return [...new Set([...trained.keys(), ...wanted, ...carried])];
}

/** Tensors that are trained, and others from the first checkpoint that has each. @throws CHECKPOINT_MISMATCH */
function tensorsOf(names: readonly string[], trained: TensorMap, frozen: readonly Checkpoint[]): Tensors {
  const holders = new Map(names.map((name) => [name, frozen.find(({ tensors }) => tensors.has(name))]));
  const missing = names.find((name) => !trained.has(name) && holders.get(name) === undefined);
  if (missing !== undefined) {
    throw new ToklipError("CHECKPOINT_MISMATCH", `export: none of the run's checkpoints has ${missing}`);
  }
  const specs = names.map((name): TensorSpec => {
    const { dtype, shape } = trained.get(name) ?? holders.get(name)!.tensors.get(name)!;
    return { name, dtype, shape };
  });
  const read = async (name: string) => trained.get(name) ?? readTensor(holders.get(name)!.tensors.get(name)!);
  return { specs, read };
}
