/** A run of the unified transformer in Node: its data, its TokLIP, its trainer. */
import { ToklipError } from "../core/index.ts";
import { type ArConfig, parseArConfig } from "../models/index.ts";
import { readJson } from "../pipelines/model-files.ts";
import { TextTokenizer } from "../text/index.ts";
import { createArTrainer, type GivenEncoder } from "../train/ar-assembly.ts";
import type { ArBatch } from "../train/ar-batches.ts";
import type { RunConfigs } from "../train/run-config.ts";
import { sampleDrawer } from "./ar-samples.ts";
import { openIdsBatches } from "./ids-data.ts";
import { type OpenRun, type RunContext, threadsOf } from "./open-run.ts";
import { nodePlatform } from "./platform.ts";
import { closeAll, openCheckpoints, openGiven } from "./train-models.ts";
import { commonOptions, localBatchSize } from "./train-trainers.ts";

const LARGEST_CONFIG_BYTES = 1e6;

/** The configuration of a unified transformer: a JSON file by path, or the parsed JSON. @throws CONFIG_UNKNOWN, CONFIG_INVALID */
export async function openArConfig(model: string | object): Promise<ArConfig> {
  if (typeof model !== "string") return parseArConfig(model);
  const file = await nodePlatform.findFile([model], "");
  if (file === undefined) throw new ToklipError("CONFIG_UNKNOWN", `model: there is no file ${model}`);
  const json = await readJson(file, "CONFIG_INVALID", LARGEST_CONFIG_BYTES);
  return parseArConfig(json, file.name.replace(/^.*[/\\]|\.json$/g, ""));
}

/** The tokenizer of the texts. @throws FILE_NOT_FOUND, TOKENIZER_INVALID, TOKENIZER_MISMATCH */
export async function openArTokenizer(path: string, { textVocabSize }: ArConfig): Promise<TextTokenizer> {
  const file = await nodePlatform.findFile([await nodePlatform.locate(path, { download: false })], "");
  if (file === undefined) throw new ToklipError("FILE_NOT_FOUND", `tokenizer: there is no file ${path}`);
  return TextTokenizer.fromJson(await readJson(file, "TOKENIZER_INVALID"), { vocabSize: textVocabSize });
}

/** What the training of its token encoder is given. Its checkpoint is the caller's to close. */
export async function openGivenEncoder(config: RunConfigs["ar"], model: ArConfig): Promise<GivenEncoder> {
  const toklip = config.toklip === null ? undefined : await openGiven(config.toklip);
  return { model, toklip, tokenEncoder: config.token_encoder };
}

/** The first pictures of batches; fewer where these repeat themselves. */
async function picturesOf(batches: AsyncIterable<ArBatch>, count: number): Promise<Int32Array[]> {
  const found = new Map<string, Int32Array>();
  let seen = 0;
  for await (const { placed } of batches) {
    for (const { sequence } of placed) found.set(sequence.picture.join(), sequence.picture);
    seen += placed.length;
    if (found.size >= count || seen >= 4 * count) break;
  }
  return [...found.values()].slice(0, count);
}

/** Opens a run. @throws what its data, models and trainer are refused for */
export async function openArRun(
  config: RunConfigs["ar"],
  model: ArConfig,
  context: RunContext,
): Promise<OpenRun<ArBatch>> {
  const { communicator, signal, onBad } = context;
  const tokenizer = await openArTokenizer(config.tokenizer, model);
  const batchSize = localBatchSize(config, communicator);
  const batches = await openIdsBatches({ config, model, tokenizer, batchSize, communicator, signal, onBad });
  const checkpoints = await openCheckpoints(config.init);
  const opened = [...checkpoints];
  const close = () => closeAll(opened);
  try {
    const given = await openGivenEncoder(config, model);
    const { toklip } = given;
    if (toklip) opened.push(toklip.checkpoint);
    const { trainer, fresh } = await createArTrainer({
      ...commonOptions({ ...context, config }),
      ...given,
      checkpoints,
      examples: (count) => picturesOf(batches.train(undefined), count),
      weights: config.loss,
      draw:
        toklip &&
        sampleDrawer({
          model,
          toklip,
          tokenizer,
          settings: config.samples,
          threads: threadsOf(config, communicator),
        }),
    });
    return {
      trainer,
      fresh,
      batches: batches.train,
      evaluation: batches.evaluation,
      size: batches.size,
      close: async () => {
        await trainer.dispose();
        await close();
      },
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}
