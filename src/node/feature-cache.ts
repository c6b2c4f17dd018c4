/** The cache of a TokLIP's frozen parts in Node: a folder, and the identity of the weights that fill it. */
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import type { ToklipConfig } from "../models/index.ts";
import type { Communicator } from "../train/communicator.ts";
import { FeatureCache } from "../train/feature-cache.ts";
import { evenPartSize } from "../train/frozen-encoders.ts";
import { frozenIdentities } from "../train/frozen-identity.ts";
import type { TrainingEvent } from "../train/loop.ts";
import type { RunConfig, RunConfigs } from "../train/run-config.ts";
import { readRunFolder } from "./run-folder.ts";
import { closeAll, openCheckpoints, openGiven } from "./train-models.ts";
import { givenParts, localBatchSize } from "./train-trainers.ts";

/** The run that a cache is for. */
export interface RunCacheOptions {
  readonly config: RunConfig;
  readonly model: ToklipConfig;
  /** The run's folder; the cache is in its `cache`, unless the configuration names another folder. */
  readonly out: string;
  readonly communicator: Communicator;
  readonly onEvent?: ((event: TrainingEvent) => void) | undefined;
}

/**
 * Opens the cache that a run asks for; undefined where it asks for none. Several processes and several runs may have one
 * folder open.
 * @throws CHECKPOINT_MISMATCH, FILE_NOT_FOUND, FILE_CORRUPT, FILE_READ_FAILED
 */
export async function openRunCache(options: RunCacheOptions): Promise<FeatureCache | undefined> {
  const { config, model, out, communicator, onEvent } = options;
  if (config.kind !== "toklip" || config.cache === false) return undefined;
  return FeatureCache.open({
    storage: readRunFolder(config.cache === true ? join(out, "cache") : config.cache),
    digest: (bytes) => createHash("sha256").update(bytes).digest(),
    session: randomBytes(8).toString("hex"),
    model,
    identities: await identitiesOf(config, model, evenPartSize(localBatchSize(config, communicator))),
    warn: (message) => communicator.rank === 0 && onEvent?.({ type: "warning", message }),
  });
}

async function identitiesOf(config: RunConfigs["toklip"], model: ToklipConfig, partSize: number) {
  const init = await openCheckpoints(config.init);
  const opened = [...init];
  try {
    const teacher = config.teacher ? await openGiven(config.teacher) : undefined;
    if (teacher) opened.push(teacher.checkpoint);
    return await frozenIdentities(givenParts(config, model, init, teacher), {
      device: config.device,
      part_size: partSize,
    });
  } finally {
    await closeAll(opened);
  }
}
