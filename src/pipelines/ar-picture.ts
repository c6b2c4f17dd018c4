/**
 * The unified transformer as a writer of pictures, for `generateIds`: exactly the ids of one picture are drawn, among image
 * ids alone. Where pictures enter by their features, the token encoder advances by each id as well, and its feature enters
 * with the id: the same as a computation of the whole, at each id.
 *
 * Dim letters: B pictures, F width of token features.
 */
import { concatRows, ndarray } from "../core/index.ts";
import { arVocabulary } from "../models/index.ts";
import type { ArDecoder } from "./ar-decoder.ts";
import { type ArPrompt, withoutCondition } from "./ar-prompt.ts";
import type { ArStream } from "./ar-stream.ts";
import type { IdDecoder, IdStream } from "./generate.ts";
import type { TokenStream } from "./model.ts";

/** Prompts, one for each picture, as a decoder of image ids. What it is made of stays the caller's. */
export function arPictureDecoder(decoder: ArDecoder): IdDecoder<readonly ArPrompt[]> {
  const { codebookSize, imageTokens, entry } = decoder.config;
  return {
    vocabSize: codebookSize,
    side: Math.sqrt(imageTokens),
    start: async (prompts, guided, { signal } = {}) => {
      const rows = guided ? [...prompts, ...prompts.map(withoutCondition)] : prompts;
      // The last id is drawn, and not read.
      const stream = await decoder.start(rows, { opened: true, room: imageTokens - 1, signal });
      const encoder = entry === "vq" ? undefined : await decoder.encoder!.startStream({ batch: prompts.length });
      return idStream(decoder, stream, encoder, prompts.length);
    },
    dispose: async () => {},
  };
}

function idStream(decoder: ArDecoder, stream: ArStream, encoder: TokenStream | undefined, batch: number): IdStream {
  const { imageStart, size } = arVocabulary(decoder.config);
  /** Of the logits of all ids, those of image ids. */
  const ofImages = (logits: Float32Array): Float32Array => {
    const count = size - imageStart;
    const out = new Float32Array((logits.length / size) * count);
    for (let row = 0; row * size < logits.length; row++) {
      out.set(logits.subarray(row * size + imageStart, (row + 1) * size), row * count);
    }
    return out;
  };
  return {
    async next(ids, options = {}) {
      if (ids === undefined) return ofImages(stream.first);
      const features = await encoder?.step(ndarray("i32", [batch, 1], ids.slice(0, batch)), options);
      // Rows without their condition have the same pictures.
      const both = features && ids.length > batch ? concatRows([features, features]) : features;
      return ofImages(
        await stream.next(
          ids.map((id) => imageStart + id),
          both,
          options,
        ),
      );
    },
    dispose: async () => {
      await encoder?.dispose();
      await stream.dispose();
    },
  };
}
