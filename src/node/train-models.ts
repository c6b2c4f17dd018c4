/** The models that a run's configuration names: configurations, checkpoints, the tokenizer. */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/index.ts";
import { parseConfig, type ToklipConfig, withModelNames } from "../models/index.ts";
import { findConfig, findTokenizer, loadConfig } from "../pipelines/model-files.ts";
import { TextTokenizer } from "../text/index.ts";
import { type PerceptualNetwork, perceptualNetwork } from "../train/perceptual-network.ts";
import type { RunConfig, RunConfigs } from "../train/run-config.ts";
import type { PerceptualDistance } from "../train/vq-objective.ts";
import { readOnnxFile } from "./onnx-file.ts";
import { nodePlatform } from "./platform.ts";

/** A model's configuration: built-in by name, a JSON file by path, or the parsed JSON. @throws CONFIG_UNKNOWN, CONFIG_INVALID */
export function openModelConfig(model: string | object): Promise<ToklipConfig> {
  return typeof model === "string" ? loadConfig(nodePlatform, model) : Promise.resolve(parseConfig(model));
}

/** Opens checkpoints by path or by a hub name that is in the cache; a bare VQ under the names it has in a TokLIP. */
export async function openCheckpoints(sources: readonly string[]): Promise<Checkpoint[]> {
  const opened: Checkpoint[] = [];
  try {
    for (const source of sources) {
      const path = await nodePlatform.locate(source, { download: false });
      opened.push(withModelNames(await nodePlatform.openCheckpoint(path)));
    }
    return opened;
  } catch (thrown) {
    await closeAll(opened);
    throw thrown;
  }
}

/** Closes checkpoints, and whatever else holds files. */
export async function closeAll(opened: readonly { close(): Promise<void> }[]): Promise<void> {
  for (const each of opened) await each.close();
}

/** Where a run's frozen parts come from: what it begins with, then its teacher. */
export function openFrozenCheckpoints(config: RunConfig): Promise<Checkpoint[]> {
  return openCheckpoints(
    config.kind === "toklip" && config.teacher ? [...config.init, config.teacher.checkpoint] : config.init,
  );
}

/** A model that a run is given: a teacher, or the TokLIP of a transformer. */
export type GivenModel = NonNullable<RunConfigs["ar"]["toklip"]>;

/** A given model, with the configuration that was named, or that its file or the files beside it hold. */
export async function openGiven(
  given: GivenModel,
): Promise<{ readonly config: ToklipConfig; readonly checkpoint: Checkpoint }> {
  const path = await nodePlatform.locate(given.checkpoint, { download: false });
  const checkpoint = await nodePlatform.openCheckpoint(path);
  try {
    return { config: await findConfig(nodePlatform, path, checkpoint, given.model ?? undefined), checkpoint };
  } catch (thrown) {
    await checkpoint.close();
    throw thrown;
  }
}

/** The tokenizer of a vocabulary of so many ids. @throws FILE_NOT_FOUND, TOKENIZER_INVALID, TOKENIZER_MISMATCH */
export async function openTokenizer(path: string, vocabSize: number): Promise<TextTokenizer> {
  const json = await findTokenizer(nodePlatform, "", { text: {} }, { tokenizer: path });
  if (json === undefined) throw new ToklipError("FILE_NOT_FOUND", `tokenizer: there is no file ${path}`);
  return TextTokenizer.fromJson(json, { vocabSize });
}

/** A perceptual distance that is ready to be used. */
export interface OpenPerceptual {
  /** Absent for LPIPS, which is the VQ's own. */
  readonly distance?: PerceptualDistance;
  /** Absent where nothing is asked for. */
  readonly weights?: Checkpoint | PerceptualNetwork["weight"];
  close(): Promise<void>;
}

/** Opens the perceptual network of a VQ's run. @throws FILE_NOT_FOUND, FILE_CORRUPT, FILE_UNSUPPORTED */
export async function openPerceptual({ loss: { perceptual } }: RunConfigs["vq"]): Promise<OpenPerceptual> {
  const nothing = async () => {};
  if (perceptual === null) return { close: nothing };
  const { lpips, onnx, features, mean, std } = perceptual;
  if (onnx === null) {
    const opened = await openCheckpoints([lpips!]);
    return { weights: opened[0]!, close: () => closeAll(opened) };
  }
  const { distance, weight } = perceptualNetwork(await readOnnxFile(onnx), {
    mean,
    std,
    features: features ?? undefined,
  });
  return { distance, weights: weight, close: nothing };
}
