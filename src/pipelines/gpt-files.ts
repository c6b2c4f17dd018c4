/** What belongs to the checkpoint of a GPT of LlamaGen: whether it is one, and its configuration. */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import { checkGptCheckpoint, GPT_SIZES, type GptConfig, inferGptConfig } from "../models/index.ts";
import { readConfigFile, stemOf } from "./model-files.ts";
import type { Platform } from "./platform.ts";

/** What the user knows of a GPT that its shapes do not say. */
export interface GptConfigOptions {
  /**
   * One of `GPT_SIZES`, the path of a JSON file, or the parsed JSON, in the names of LlamaGen's `ModelArgs`. What it does
   * not say is read from the shapes; released checkpoints need none.
   */
  readonly config?: string | object | undefined;
  /** Ids along each edge of a picture. Default: as the configuration or the training arguments in the file say, else 16. */
  readonly grid?: number | undefined;
}

/** Whether a checkpoint holds a GPT of LlamaGen. */
export function isGptCheckpoint({ tensors }: Checkpoint): boolean {
  const conditions = ["cls_embedding.embedding_table.weight", "cls_embedding.uncond_embedding"];
  return tensors.has("tok_embeddings.weight") && conditions.some((name) => tensors.has(name));
}

/**
 * The configuration of a GPT's checkpoint, which is held against it.
 * @throws CONFIG_UNKNOWN, CONFIG_INVALID; CHECKPOINT_MISMATCH where it is no GPT, or another than the configuration says
 */
export async function findGptConfig(
  platform: Pick<Platform, "findFile">,
  location: string,
  checkpoint: Checkpoint,
  { config: asked, grid }: GptConfigOptions = {},
): Promise<GptConfig> {
  if (grid !== undefined && !(Number.isInteger(grid) && grid >= 1)) {
    throw new ToklipError("ARGUMENT_INVALID", `grid ${grid}: expected a whole number, 1 or more`);
  }
  const known = await knownFields(platform, asked);
  const inferred = inferGptConfig(checkpoint, { ...known, ...(grid !== undefined && { block_size: grid ** 2 }) });
  const config = { ...inferred, name: sizeName(inferred) ?? stemOf(location) };
  checkGptCheckpoint(checkpoint, config);
  return config;
}

/** What is known of a GPT beside its shapes. A size stands for its numbers, so that they are held against the shapes. */
async function knownFields(
  platform: Pick<Platform, "findFile">,
  asked: string | object = {},
): Promise<Readonly<Record<string, unknown>>> {
  const json = typeof asked === "object" ? asked : await namedConfig(platform, asked);
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new ToklipError("CONFIG_INVALID", "the configuration is no JSON object");
  }
  const { size, ...fields } = json as Record<string, unknown>;
  if (size === undefined) return fields;
  if (typeof size === "string" && Object.hasOwn(GPT_SIZES, size)) return { ...GPT_SIZES[size], ...fields };
  throw new ToklipError("CONFIG_INVALID", `size "${size}" is none of ${Object.keys(GPT_SIZES).join(", ")}`);
}

async function namedConfig(platform: Pick<Platform, "findFile">, asked: string): Promise<unknown> {
  if (Object.hasOwn(GPT_SIZES, asked)) return { size: asked };
  const file = await platform.findFile([asked], "");
  if (file !== undefined) return readConfigFile(file);
  const known = Object.keys(GPT_SIZES).join(", ");
  throw new ToklipError("CONFIG_UNKNOWN", `configuration "${asked}" is neither a file nor one of ${known}`);
}

function sizeName({ width, depth, numHeads }: GptConfig): string | undefined {
  const isIt = ({ dim, n_layer, n_head }: (typeof GPT_SIZES)[string]) =>
    dim === width && n_layer === depth && n_head === numHeads;
  return Object.keys(GPT_SIZES).find((name) => isIt(GPT_SIZES[name]!));
}
