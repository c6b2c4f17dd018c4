// Files of a unified transformer that reads and writes the ids of the tiny TokLIP.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { bytesOf, type NDArray } from "../src/core/index.ts";
import { writeSafetensors } from "../src/files/index.ts";
import type { ArConfig } from "../src/models/index.ts";
import { arConfigMetadata } from "../src/pipelines/index.ts";
import { BpeTrainer } from "../src/text/index.ts";
import { tinyAr, tinyWeights } from "./ar-models.ts";
import { goldenPath } from "./goldens.ts";

export const TINY_VOCABULARY = 300;

/** The TokLIP of these transformers. */
export const TINY_TOKLIP = goldenPath("tiny/tiny.pt");

export function tinyUnified(change: object = {}): ArConfig {
  const size = { text_vocab_size: TINY_VOCABULARY, codebook_size: 512, image_tokens: 16, context_length: 48 };
  return tinyAr("toklip", { feature_width: 64, ...size, ...change });
}

/** Writes a model as training would leave it. Gives its path. */
export async function writeUnified(
  file: string,
  config: ArConfig = tinyUnified(),
  metadata = arConfigMetadata(config),
  more: readonly (readonly [string, NDArray<"f32">])[] = [],
): Promise<string> {
  const pieces: Uint8Array[] = [];
  const weights = new Map([...tinyWeights(config), ...more]);
  const specs = [...weights].map(([key, { dtype, shape }]) => ({ name: key, dtype, shape }));
  const sink = { write: async (bytes: Uint8Array) => void pieces.push(bytes.slice()) };
  const bytes = async function* (key: string) {
    yield bytesOf((weights.get(key) as NDArray).data);
  };
  await writeSafetensors(sink, specs, bytes, metadata);
  writeFileSync(file, Buffer.concat(pieces));
  return file;
}

/** Writes the `tokenizer.json` of these transformers into a folder. Gives what is in it. */
export function writeTinyTokenizer(folder: string) {
  const trainer = new BpeTrainer({ vocabSize: TINY_VOCABULARY });
  for (let i = 0; i < 3; i++) trainer.add("a photo of a red rocket, what is it?");
  const json = trainer.train();
  writeFileSync(path.join(folder, "tokenizer.json"), JSON.stringify(json));
  return json;
}
