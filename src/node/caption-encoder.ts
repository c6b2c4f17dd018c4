/** Captions -> features by an ONNX file and a tokenizer.json that the user names. */
import type { LongCallOptions, NDArray } from "../core/index.ts";
import { encodeCaptions } from "../pipelines/caption-encoder.ts";
import type { LoadOptions } from "../pipelines/model.ts";
import { readJson } from "../pipelines/model-files.ts";
import { encoderTokenizer } from "../text/encoder-tokenizer.ts";
import { openFileSource } from "./file-source.ts";
import { readOnnxFile } from "./onnx-file.ts";
import { createOrtBackend } from "./ort-backend.ts";

/** Which encoder, and how it runs. */
export interface CaptionEncoderOptions extends LongCallOptions, Pick<LoadOptions, "device" | "threads"> {
  /** The path of the ONNX file: text ids (1, T), and a mask where it takes one -> features (1, T, W). */
  readonly encoder: string;
  /** The path of its `tokenizer.json`. */
  readonly tokenizer: string;
  /** Longer captions are cut to so many text ids: those that the GPT reads, 120 for LlamaGen's. Default 120. */
  readonly longest?: number | undefined;
}

const LLAMAGEN_LENGTH = 120;

/**
 * Encodes captions for `LlamaGen.generate`: f32 (T, W) each.
 * @throws FILE_NOT_FOUND, FILE_CORRUPT, FILE_UNSUPPORTED, TOKENIZER_INVALID; ARGUMENT_INVALID, OP_UNSUPPORTED for a network
 * that is no such encoder; OUT_OF_MEMORY, ABORTED
 */
export async function encodeCaptionTexts(
  texts: readonly string[],
  { encoder, tokenizer, longest = LLAMAGEN_LENGTH, device, threads, ...options }: CaptionEncoderOptions,
): Promise<NDArray<"f32">[]> {
  const idsOf = encoderTokenizer(await readJson(await openFileSource(tokenizer), "TOKENIZER_INVALID"));
  const model = await readOnnxFile(encoder);
  const backend = createOrtBackend({ ...(device && { device }), ...(threads !== undefined && { threads }) });
  try {
    return await encodeCaptions({ backend, model, idsOf, longest }, texts, options);
  } finally {
    await backend.dispose();
  }
}
