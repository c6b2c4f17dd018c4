/** TokLIP in Node, without what else `toklip/node` offers: a command should begin at once. */
import { DEFAULT_MODEL } from "../pipelines/bundled-files.ts";
import type { LoadOptions } from "../pipelines/model.ts";
import { PlatformTokLIP } from "../pipelines/toklip.ts";
import { nodePlatform } from "./platform.ts";

/** A TokLIP model on ONNX Runtime in Node. Its methods are described at `TokLIPModel`. */
export class TokLIP extends PlatformTokLIP {
  /**
   * Opens a model. Weights are read when they are first needed: asking for ids reads the VQ only.
   * @param source the path of a .pt, .pth or .safetensors checkpoint, a hub name ("owner/repo/file"), or the name of a
   * model that comes with the package. Default `"toklip-mini"`.
   * @throws FILE_NOT_FOUND, FILE_CORRUPT, FILE_UNSUPPORTED, CHECKPOINT_MISMATCH, CONFIG_UNKNOWN, CONFIG_INVALID,
   * DEVICE_UNAVAILABLE, OFFLINE, ABORTED
   */
  static async load(source: string = DEFAULT_MODEL, options: LoadOptions = {}): Promise<TokLIP> {
    return new TokLIP(await PlatformTokLIP.open(nodePlatform, source, options));
  }
}
