/** Finds what belongs to a checkpoint: its configuration and its text tokenizer. */
import { type ByteSource, messageOf, ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import {
  BUILT_IN_CONFIGS,
  builtInConfig,
  parameterShapes,
  parseConfig,
  type TextConfig,
  type ToklipConfig,
} from "../models/index.ts";
import type { LoadOptions } from "./model.ts";
import type { Platform } from "./platform.ts";

/** The metadata keys under which our own files carry their configuration. */
export const CONFIG_KEYS = { json: "toklip_config", name: "toklip_config_name" } as const;

/** A configuration as metadata of a .safetensors file. */
export function configMetadata({ source, name }: ToklipConfig): Readonly<Record<string, string>> {
  return { [CONFIG_KEYS.json]: JSON.stringify(source), [CONFIG_KEYS.name]: name };
}

const LARGEST_JSON_BYTES = 200e6;
const LARGEST_CONFIG_BYTES = 1e6;

/** Reads a JSON file. @throws `code` when it is too large or not JSON. */
export async function readJson(
  source: ByteSource,
  code: "CONFIG_INVALID" | "TOKENIZER_INVALID",
  limit = LARGEST_JSON_BYTES,
): Promise<unknown> {
  if (source.byteLength > limit) {
    throw new ToklipError(
      code,
      `${source.name}: ${source.byteLength} bytes are more than the ${limit} a JSON file may have`,
    );
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(await source.read(0, source.byteLength)));
  } catch (thrown) {
    throw new ToklipError(code, `${source.name} is not JSON: ${messageOf(thrown)}`, { cause: thrown });
  } finally {
    await source.close?.();
  }
}

function configInMetadata({ metadata, name }: Checkpoint): ToklipConfig | undefined {
  const { [CONFIG_KEYS.json]: text, [CONFIG_KEYS.name]: known } = metadata;
  if (typeof text !== "string") return undefined;
  try {
    return parseConfig(JSON.parse(text), typeof known === "string" ? known : name);
  } catch (thrown) {
    throw new ToklipError("CONFIG_INVALID", `${name}: the configuration in the file: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
}

/** Tensors whose shapes tell the built-in configurations apart. */
const MARKS = [
  "visual.trunk.pos_embed",
  "visual.trunk.patch_embed.proj.weight",
  "visual.trunk.vq.quantize.embedding.weight",
  "visual.trunk.vq.encoder.conv_blocks.0.res.0.conv1.weight",
];

/** The first built-in configuration that all marks in the checkpoint fit. */
function configByShape({ tensors }: Checkpoint): ToklipConfig | undefined {
  const marks = MARKS.filter((name) => tensors.has(name));
  if (marks.length === 0) return undefined;
  return Object.keys(BUILT_IN_CONFIGS)
    .map(builtInConfig)
    .find((config) => {
      const shapes = parameterShapes(config);
      return marks.every((name) => shapes.get(name)?.join() === tensors.get(name)!.shape.join());
    });
}

/**
 * The configuration of a checkpoint: the one asked for (a built-in name, a path, parsed JSON), the one in the file, the
 * one beside it (`<name>.json`, `open_clip_config.json`, `config.json`), or the built-in one of its shapes.
 * @throws CONFIG_UNKNOWN, CONFIG_INVALID
 */
export async function findConfig(
  platform: Platform,
  location: string,
  checkpoint: Checkpoint,
  asked: string | object | undefined,
): Promise<ToklipConfig> {
  if (typeof asked === "object") return parseConfig(asked);
  if (asked !== undefined) return loadConfig(platform, asked);
  const inside = configInMetadata(checkpoint);
  if (inside) return inside;
  const beside = await platform.findFile(
    [`${stemOf(location)}.json`, "open_clip_config.json", "config.json"],
    location,
  );
  if (beside) return parseConfigFile(beside);
  const known = configByShape(checkpoint);
  if (known) return known;
  throw new ToklipError(
    "CONFIG_UNKNOWN",
    `${checkpoint.name}: no configuration is in it, beside it, or built in for its shapes`,
  );
}

/**
 * A configuration by built-in name or path.
 * @throws CONFIG_UNKNOWN, CONFIG_INVALID
 */
export async function loadConfig(platform: Pick<Platform, "findFile">, nameOrPath: string): Promise<ToklipConfig> {
  if (Object.hasOwn(BUILT_IN_CONFIGS, nameOrPath)) return builtInConfig(nameOrPath);
  const file = await platform.findFile([nameOrPath], "");
  return file ? parseConfigFile(file) : builtInConfig(nameOrPath);
}

/** The name of a file without its folder and extension. */
export function stemOf(location: string): string {
  return location.replace(/\.[^./\\]*$/, "").replace(/^.*[/\\]/, "");
}

/** Reads the JSON of a configuration. @throws CONFIG_INVALID when it is too large or not JSON */
export function readConfigFile(file: ByteSource): Promise<unknown> {
  return readJson(file, "CONFIG_INVALID", LARGEST_CONFIG_BYTES);
}

async function parseConfigFile(file: ByteSource): Promise<ToklipConfig> {
  const json = await readConfigFile(file);
  const name = file.name.replace(/^.*[/\\]/, "").replace(/\.json$/, "");
  return parseConfig(json, name);
}

/** Where a tokenizer may be. */
export type TokenizerOptions = Pick<LoadOptions, "tokenizer" | "download" | "signal">;

/**
 * The `tokenizer.json` asked for (a path or a hub name), or the one beside a checkpoint; undefined where there is none.
 * @throws TOKENIZER_INVALID when it is no JSON, FILE_NOT_FOUND when the one asked for is not there
 */
export async function readTokenizer(
  platform: Platform,
  location: string,
  { tokenizer, download = false, signal }: TokenizerOptions,
): Promise<unknown> {
  const file =
    tokenizer === undefined
      ? await platform.findFile(["tokenizer.json"], location)
      : await platform.findFile([await platform.locate(tokenizer, { download, signal })], "");
  return file && readJson(file, "TOKENIZER_INVALID");
}

/**
 * The `tokenizer.json` of a model: the one asked for (a path or a hub name), the one beside the checkpoint, or the one of
 * the hub repository that the configuration names, where that is in the cache or may be downloaded.
 * @throws TOKENIZER_INVALID when there is none, FILE_NOT_FOUND when the one asked for is not there
 */
export async function findTokenizer(
  platform: Platform,
  location: string,
  { text: { tokenizerName: hub } }: { readonly text: Partial<Pick<TextConfig, "tokenizerName">> },
  options: TokenizerOptions,
): Promise<unknown> {
  const found = await readTokenizer(platform, location, options);
  if (found !== undefined || options.tokenizer !== undefined) return found;
  if (hub !== undefined) return readTokenizer(platform, location, { ...options, tokenizer: `${hub}/tokenizer.json` });
  throw new ToklipError("TOKENIZER_INVALID", `there is no tokenizer.json beside ${location}, which text needs`);
}
