// A worker thread that decodes and augments pictures, several at a time: while libvips decodes one, another is resized.
// Its peer is decode-pool.ts.
import { parentPort } from "node:worker_threads";
import { messageOf, ToklipError } from "../core/index.ts";
import type { DecodeSpec } from "../data/decode.ts";
import { decodeSample } from "./decode-sample.ts";
import type { DecodeOptions } from "./image.ts";

/** What the pool asks. */
export interface DecodeRequest {
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly spec: DecodeSpec;
  readonly options: DecodeOptions;
}

/** What the worker answers: the pixels (3, S, S), or what went wrong as a code and a reason. */
export type DecodeAnswer = { readonly id: number } & (
  | { readonly data: Float32Array<ArrayBuffer> }
  | { readonly code: ToklipError["code"]; readonly reason: string }
);

parentPort?.on("message", async ({ id, bytes, spec, options }: DecodeRequest) => {
  try {
    const { data } = await decodeSample(bytes, spec, options);
    const own = data as Float32Array<ArrayBuffer>;
    parentPort?.postMessage({ id, data: own } satisfies DecodeAnswer, [own.buffer]);
  } catch (thrown) {
    const code = thrown instanceof ToklipError ? thrown.code : "INTERNAL";
    parentPort?.postMessage({ id, code, reason: messageOf(thrown) } satisfies DecodeAnswer);
  }
});
