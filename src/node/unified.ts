/** The unified transformer in Node, without what else `toklip/node` offers: a command should begin at once. */
import { PlatformUnified, type UnifiedOptions } from "../pipelines/unified.ts";
import { nodePlatform } from "./platform.ts";

/**
 * A unified transformer, and the TokLIP whose ids it reads and writes, on ONNX Runtime in Node.
 *
 * @example
 * const model = await Unified.load("ar.safetensors", { toklip: "toklip.safetensors" });
 * const [caption] = await model.describe("photo.jpg");
 * const [picture] = await model.generate({ texts: ["a red guitar"], seed: 1 });
 */
export class Unified extends PlatformUnified {
  /**
   * Opens a transformer, its tokenizer and its TokLIP. All are checked; weights are read when they are first needed.
   * @param source the path of a .pt, .pth or .safetensors checkpoint, or a hub name ("owner/repo/file")
   * @throws FILE_NOT_FOUND, FILE_CORRUPT, FILE_UNSUPPORTED, CHECKPOINT_MISMATCH, CONFIG_UNKNOWN, CONFIG_INVALID,
   * TOKENIZER_INVALID, TOKENIZER_MISMATCH, DEVICE_UNAVAILABLE, OFFLINE, ABORTED
   */
  static async load(source: string, options: UnifiedOptions = {}): Promise<Unified> {
    return new Unified(await PlatformUnified.open(nodePlatform, source, options));
  }
}
