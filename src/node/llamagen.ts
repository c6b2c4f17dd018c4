/** LlamaGen in Node, without what else `toklip/node` offers: a command should begin at once. */
import { type LlamaGenOptions, PlatformLlamaGen } from "../pipelines/llamagen.ts";
import { nodePlatform } from "./platform.ts";

/**
 * A GPT of LlamaGen, and the VQ that decodes its ids, on ONNX Runtime in Node. Its methods are described at
 * `PictureGenerator`.
 *
 * @example
 * const model = await LlamaGen.load("c2i_B_256.pt", { vq: "vq_ds16_c2i.pt" });
 * const [retriever, geyser] = await model.generate({ classes: [207, 974], seed: 1 });
 * await writeFile("retriever.png", await encodePng(retriever!.image!));
 */
export class LlamaGen extends PlatformLlamaGen {
  /**
   * Opens a released GPT checkpoint, for classes or for captions, and its VQ. Both are checked; weights are read when they
   * are first needed.
   * @param source the path of a .pt, .pth or .safetensors checkpoint, or a hub name ("owner/repo/file")
   * @throws FILE_NOT_FOUND, FILE_CORRUPT, FILE_UNSUPPORTED; CHECKPOINT_MISMATCH where it is no GPT, another than the
   * configuration says, or one of other ids than the VQ; CONFIG_UNKNOWN, CONFIG_INVALID, DEVICE_UNAVAILABLE, OFFLINE, ABORTED
   */
  static async load(source: string, options: LlamaGenOptions = {}): Promise<LlamaGen> {
    return new LlamaGen(await PlatformLlamaGen.open(nodePlatform, source, options));
  }
}
