/** A run of the unified transformer in Node: its data, its TokLIP, its trainer. */
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { ToklipError } from "../core/index.ts";
import { RowTable } from "../data/index.ts";
import { type ArConfig, gridOf, parseArConfig, type ToklipConfig, weightsPrint } from "../models/index.ts";
import { readConfigFile, stemOf } from "../pipelines/model-files.ts";
import { checkGivenEncoder, createArTrainer, type GivenEncoder } from "../train/ar-assembly.ts";
import type { ArBatch } from "../train/ar-batches.ts";
import { cachedFeatureReader } from "../train/ar-pictures.ts";
import type { RunConfigs } from "../train/run-config.ts";
import { sampleDrawer } from "./ar-samples.ts";
import { openIdsBatches } from "./ids-data.ts";
import { type OpenRun, type RunContext, threadsOf } from "./open-run.ts";
import { nodePlatform } from "./platform.ts";
import { readRunFolder } from "./run-folder.ts";
import { closeAll, openCheckpoints, openGiven, openTokenizer } from "./train-models.ts";
import { commonOptions, localBatchSize } from "./train-trainers.ts";

/** The configuration of a unified transformer: a JSON file by path, or the parsed JSON. @throws CONFIG_UNKNOWN, CONFIG_INVALID */
export async function openArConfig(model: string | object): Promise<ArConfig> {
  if (typeof model !== "string") return parseArConfig(model);
  const file = await nodePlatform.findFile([model], "");
  if (file === undefined) throw new ToklipError("CONFIG_UNKNOWN", `model: there is no file ${model}`);
  return parseArConfig(await readConfigFile(file), stemOf(file.name));
}

/** What the training of its token encoder is given. Its checkpoint is the caller's to close. */
export async function openGivenEncoder(config: RunConfigs["ar"], model: ArConfig): Promise<GivenEncoder> {
  const toklip = config.toklip === null ? undefined : await openGiven(config.toklip);
  return { model, toklip, tokenEncoder: config.token_encoder };
}

/** Whether what a token encoder makes is computed beside the steps. */
function readsFeatures({ model, tokenEncoder }: GivenEncoder): boolean {
  return model.entry !== "vq" && tokenEncoder === "frozen";
}

/** The features of one picture, (N, F). */
function featureShape({ trunk }: ToklipConfig): readonly [number, number] {
  return [gridOf(trunk).tokens, trunk.width];
}

/** Changes when the same encoder would give other features in a new version of this project. */
const CACHE_VERSION = 1;

/**
 * The table that token features are kept in, where the run asks for one: in a folder named after what they depend on, so that
 * another encoder finds another, empty table.
 */
async function openFeatureTable(
  { cache, device }: RunConfigs["ar"],
  { config, checkpoint }: NonNullable<GivenEncoder["toklip"]>,
  { out, communicator, onEvent }: RunContext,
): Promise<RowTable | undefined> {
  if (cache === false) return undefined;
  const weights = await weightsPrint("token_encoder", config, [checkpoint]);
  const about = JSON.stringify(
    { version: CACHE_VERSION, device, trunk: config.trunk, vq: config.vq, weights },
    null,
    2,
  );
  const [tokens, width] = featureShape(config);
  return RowTable.open({
    storage: readRunFolder(cache === true ? join(out, "cache") : cache),
    folder: `token-features-${Buffer.from(sha256(Buffer.from(about)))
      .toString("hex")
      .slice(0, 16)}`,
    rowBytes: 4 * tokens * width,
    session: randomBytes(8).toString("hex"),
    about,
    warn: (message) => communicator.rank === 0 && onEvent?.({ type: "warning", message }),
  });
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
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
  const tokenizer = await openTokenizer(config.tokenizer, model.textVocabSize);
  const batchSize = localBatchSize(config, communicator);
  const batches = await openIdsBatches({ config, model, tokenizer, batchSize, communicator, signal, onBad });
  const checkpoints = await openCheckpoints(config.init);
  const opened: { close(): Promise<void> }[] = [...checkpoints];
  const close = () => closeAll(opened);
  try {
    const given = await openGivenEncoder(config, model);
    const { toklip } = given;
    if (toklip) opened.push(toklip.checkpoint);
    checkGivenEncoder(given);
    const table = toklip && readsFeatures(given) ? await openFeatureTable(config, toklip, context) : undefined;
    if (table) opened.push(table);
    const { trainer, fresh } = await createArTrainer({
      ...commonOptions({ ...context, config }),
      ...given,
      checkpoints,
      cached: table && ((reader) => cachedFeatureReader(reader, table, featureShape(toklip!.config), sha256)),
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
