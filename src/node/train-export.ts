/** A checkpoint of a run -> one .safetensors file in the reference's layout, frozen parts and configuration included. */
import { join } from "node:path";
import { bytesOf, type LongCallOptions, type NDArray, ToklipError, throwIfAborted } from "../core/index.ts";
import { type Checkpoint, readTensor, type TensorSpec, writeSafetensors } from "../files/index.ts";
import { PREFIXES, parameterShapes, type ToklipConfig } from "../models/index.ts";
import { configMetadata } from "../pipelines/model-files.ts";
import { checkpointFolder, readCheckpoint } from "../train/checkpoint.ts";
import { CheckpointStore } from "../train/checkpoint-store.ts";
import { parseRunConfig, type RunConfig, TRAINING_KINDS, type TrainingKind } from "../train/run-config.ts";
import { type RunStorage, readText } from "../train/run-storage.ts";
import { openAtomicFile } from "./atomic-file.ts";
import { readRunFolder } from "./run-folder.ts";
import { closeAll, openFrozenCheckpoints, openModelConfig } from "./train-models.ts";

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
 * Writes the model of a run.
 * @throws FILE_NOT_FOUND, FILE_CORRUPT, CONFIG_INVALID, CHECKPOINT_MISMATCH, FILE_EXISTS, FILE_WRITE_FAILED, ABORTED
 */
export async function exportRun(options: ExportRunOptions): Promise<{ out: string; step: number }> {
  const { run, out = join(run, "model.safetensors"), checkpoint = "last", overwrite, signal, onProgress } = options;
  const config = await readRunConfig(run);
  const model = await openModelConfig(config.model);
  const storage = readRunFolder(run);
  const folder = await chosenFolder(storage, checkpoint);
  const { run: state, files } = await readCheckpoint(storage, folder);
  const weights = options.weights ?? (files.ema === undefined ? "last" : "ema");
  if (weights === "ema" && files.ema === undefined) {
    throw new ToklipError("ARGUMENT_INVALID", `${run}: no moving average was kept`);
  }
  const trained = new Map([...(files.model ?? []), ...(weights === "ema" ? files.ema! : [])]);
  const frozen = await openFrozenCheckpoints(config);
  try {
    const { specs, read } = tensorsOf(config, model, trained, frozen);
    const sink = await openAtomicFile(out, { overwrite, signal });
    let done = 0;
    async function* data(name: string): AsyncGenerator<Uint8Array> {
      throwIfAborted(signal, "export");
      yield bytesOf((await read(name)).data);
      onProgress?.({ stage: "export", item: name, done: ++done, total: specs.length, unit: "tensors" });
    }
    try {
      await writeSafetensors(sink, specs, data, { format: "pt", ...configMetadata(model), step: String(state.step) });
      await sink.commit();
    } catch (thrown) {
      await sink.abort();
      throw thrown;
    }
    return { out, step: state.step };
  } finally {
    await closeAll(frozen);
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

/** Trained tensors, and from the frozen checkpoints what the model has besides. A VQ is written alone, as LlamaGen's. */
function tensorsOf(
  config: RunConfig,
  model: ToklipConfig,
  trained: ReadonlyMap<string, NDArray>,
  frozen: readonly Checkpoint[],
): Tensors {
  const wanted = config.kind === "vq" ? [] : [...parameterShapes(model).keys()];
  const holderOf = (name: string) => frozen.find(({ tensors }) => tensors.has(name));
  const carried = config.kind === "toklip" ? CARRIED.filter(holderOf) : [];
  const names = [...new Set([...trained.keys(), ...wanted, ...carried])];
  const holders = new Map(names.map((name) => [name, holderOf(name)]));
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
