/** Finds what belongs to a checkpoint: its configuration and its text tokenizer. */
import { type ByteSource, messageOf, ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import { BUILT_IN_CONFIGS, builtInConfig, parameterShapes, parseConfig, type ToklipConfig } from "../models/index.ts";
import type { LoadOptions } from "./model.ts";
import type { Platform } from "./platform.ts";

/** The metadata keys under which our own files carry their configuration. */
const CONFIG_KEYS = { json: "toklip_config", name: "toklip_config_name" } as const;

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
  const stem = location.replace(/\.[^./\\]*$/, "").replace(/^.*[/\\]/, "");
  const beside = await platform.findFile([`${stem}.json`, "open_clip_config.json", "config.json"], location);
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

async function parseConfigFile(file: ByteSource): Promise<ToklipConfig> {
  const json = await readJson(file, "CONFIG_INVALID", LARGEST_CONFIG_BYTES);
  const name = file.name.replace(/^.*[/\\]/, "").replace(/\.json$/, "");
  return parseConfig(json, name);
}

/**
 * The `tokenizer.json` of a model: the one asked for (a path or a hub name), the one beside the checkpoint, or the one of
 * the hub repository that the configuration names, where that is in the cache or may be downloaded.
 * @throws TOKENIZER_INVALID when there is none, FILE_NOT_FOUND when the one asked for is not there
 */
export async function findTokenizer(
  platform: Platform,
  location: string,
  { text }: ToklipConfig,
  { tokenizer, download = false, signal }: Pick<LoadOptions, "tokenizer" | "download" | "signal">,
): Promise<unknown> {
  const read = async (path: string) => {
    const file = await platform.findFile([path], "");
    return file && readJson(file, "TOKENIZER_INVALID");
  };
  if (tokenizer !== undefined) return read(await platform.locate(tokenizer, { download, signal }));
  const beside = await platform.findFile(["tokenizer.json"], location);
  if (beside) return readJson(beside, "TOKENIZER_INVALID");
  const name = text.tokenizerName && `${text.tokenizerName}/tokenizer.json`;
  if (!name)
    throw new ToklipError("TOKENIZER_INVALID", `there is no tokenizer.json beside ${location}, which text needs`);
  return read(await platform.locate(name, { download, signal }));
}
