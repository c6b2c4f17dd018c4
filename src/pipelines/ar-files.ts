/** What belongs to the checkpoint of a unified transformer: whether it is one, and its configuration. */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import { AR_MODEL_TYPE, type ArConfig, parseArConfig } from "../models/index.ts";
import { isGptCheckpoint } from "./gpt-files.ts";
import { CONFIG_KEYS, readConfigFile, stemOf } from "./model-files.ts";
import type { Platform } from "./platform.ts";

/** A configuration as metadata of a .safetensors file. */
export function arConfigMetadata({ source, name }: ArConfig): Readonly<Record<string, string>> {
  return { [CONFIG_KEYS.json]: JSON.stringify(source), [CONFIG_KEYS.name]: name };
}

/** The JSON in a checkpoint's metadata, if it is a configuration of this model. */
function jsonInMetadata({ metadata }: Checkpoint): unknown {
  const text = metadata[CONFIG_KEYS.json];
  if (typeof text !== "string") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Whether a configuration, parsed from JSON, says that it is of a unified transformer. */
export function isArConfig(json: unknown): boolean {
  return typeof json === "object" && json !== null && (json as { model_type?: unknown }).model_type === AR_MODEL_TYPE;
}

/** Whether a checkpoint says that it is a unified transformer. */
export function isArCheckpoint(checkpoint: Checkpoint): boolean {
  return isArConfig(jsonInMetadata(checkpoint));
}

/** Whether a checkpoint holds a unified transformer, by its configuration or, where that is beside it, by its tensors. */
export function holdsUnified(checkpoint: Checkpoint): boolean {
  return (
    isArCheckpoint(checkpoint) || (checkpoint.tensors.has("tok_embeddings.weight") && !isGptCheckpoint(checkpoint))
  );
}

/**
 * The configuration of a checkpoint: the one asked for (a path, parsed JSON), the one in the file, or the one beside it
 * (`<name>.json`, `config.json`).
 * @throws CONFIG_INVALID; CONFIG_UNKNOWN where there is none
 */
export async function findArConfig(
  platform: Pick<Platform, "findFile">,
  location: string,
  checkpoint: Checkpoint,
  asked?: string | object,
): Promise<ArConfig> {
  if (typeof asked === "object") return parseArConfig(asked);
  if (asked === undefined && isArCheckpoint(checkpoint)) {
    const name = checkpoint.metadata[CONFIG_KEYS.name];
    return parseArConfig(jsonInMetadata(checkpoint), typeof name === "string" ? name : checkpoint.name);
  }
  const stem = stemOf(location);
  const file = await platform.findFile(
    asked === undefined ? [`${stem}.json`, "config.json"] : [asked],
    asked === undefined ? location : "",
  );
  if (file) return parseArConfig(await readConfigFile(file), stem);
  const where = asked === undefined ? "no configuration is in it or beside it" : `there is no configuration ${asked}`;
  throw new ToklipError("CONFIG_UNKNOWN", `${checkpoint.name}: ${where}`);
}
