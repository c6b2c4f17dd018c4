/** What a platform brings to the model: files, pictures, names of models, the compute engine. */
import type { ByteSource, LongCallOptions } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import type { Image } from "../image/image.ts";
import type { Backend } from "../runtime/index.ts";
import type { Device, ImageInput, PreprocessOptions } from "./model.ts";

/** Where a model is to run. */
export interface BackendOptions {
  readonly device: Device;
  /** Threads of one run; the platform's default where it is undefined. */
  readonly threads: number | undefined;
}

/** The services of a platform. */
export interface Platform {
  /**
   * The place of a model's checkpoint: that of a name in `BUNDLED_FILES`, the path itself, or where a hub name lies in the
   * cache (or is downloaded to).
   */
  locate(source: string, options: LongCallOptions & { readonly download: boolean }): Promise<string>;
  /** Opens a checkpoint: headers are read, tensors are not. */
  openCheckpoint(location: string): Promise<Checkpoint>;
  /** The first of these files that is there: names beside the checkpoint, or, where that is "", paths of the user's. */
  findFile(names: readonly string[], besideCheckpoint: string): Promise<ByteSource | undefined>;
  /** Decodes a picture in the mode of its file. */
  decodeImage(input: ImageInput, options: PreprocessOptions): Promise<Image>;
  /** Starts a compute engine. */
  createBackend(options: BackendOptions): Backend;
}
