/** `init` in Node: a configuration and a seed -> a .safetensors file. */
import { ToklipError } from "../core/index.ts";
import { parseConfig } from "../models/index.ts";
import { type InitOptions, writeInitialCheckpoint } from "../pipelines/init.ts";
import { loadConfig } from "../pipelines/model-files.ts";
import { openAtomicFile } from "./atomic-file.ts";
import { nodePlatform } from "./platform.ts";

export interface InitFileOptions extends Omit<InitOptions, "config"> {
  /** A built-in configuration name, the path of a JSON file, or the parsed JSON. */
  readonly config: string | object;
  /** The path of the .safetensors file to write. */
  readonly out: string;
  /** Lets a file of the same name be replaced. Default false. */
  readonly overwrite?: boolean;
}

/**
 * Writes a checkpoint of random weights, for benchmarks and for starting a training.
 * @throws CONFIG_UNKNOWN, CONFIG_INVALID, ARGUMENT_INVALID, FILE_EXISTS, FILE_WRITE_FAILED, ABORTED
 */
export async function initCheckpoint({
  config,
  out,
  overwrite,
  ...options
}: InitFileOptions): Promise<{ parameters: number; bytes: number }> {
  const { seed } = options;
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new ToklipError("ARGUMENT_INVALID", `seed ${seed}: expected a whole number in [0, 2^32)`);
  }
  const parsed = typeof config === "string" ? await loadConfig(nodePlatform, config) : parseConfig(config);
  return writeInitialCheckpoint(await openAtomicFile(out, { overwrite, signal: options.signal }), {
    ...options,
    config: parsed,
  });
}
