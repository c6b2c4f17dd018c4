/** The decoder of a VQ alone, for grids of ids of any size: what turns generated ids into pictures. */
import { type LongCallOptions, type NDArray, rows, throwIfAborted } from "../core/index.ts";
import { type Checkpoint, readTensor } from "../files/checkpoint.ts";
import type { Image } from "../image/image.ts";
import { fromPixels } from "../image/pixels.ts";
import { checkVqDecoder, inferVqConfig, NAMES, traceVqDecoder, withModelNames } from "../models/index.ts";
import { accelerateConvolutions, type Backend, checkpointWeights, type Session } from "../runtime/index.ts";
import type { Device } from "./model.ts";

/** What a decoder is made of. */
export interface VqDecoderParts {
  readonly backend: Backend;
  /** A bare VQ of LlamaGen's kind, or a TokLIP. */
  readonly checkpoint: Checkpoint;
  /** The side of the grids. */
  readonly side: number;
  readonly device: Device;
}

/** A decoder, compiled when it is first run. The backend and the checkpoint stay the caller's. */
export class VqDecoder {
  readonly codebookSize: number;
  private readonly compile: () => Promise<Session>;
  private session: Promise<Session> | undefined;

  /** @throws CHECKPOINT_MISMATCH where the checkpoint holds no such decoder */
  constructor({ backend, checkpoint, side, device }: VqDecoderParts) {
    const named = withModelNames(checkpoint);
    const config = inferVqConfig(named);
    const graph = traceVqDecoder(config, side);
    checkVqDecoder(named, graph);
    this.codebookSize = config.codebookSize;
    const plain = { name: "vq_decoder", graph, weight: checkpointWeights(named) };
    const read = (parameter: string) => readTensor(named.tensors.get(parameter)!);
    // The fast form leans on a layout that only the CPU provider has.
    this.compile = () => backend.compile(device === "cpu" ? accelerateConvolutions(plain, read) : plain);
  }

  /** Ids i32 (B, h, w), each in [0, codebookSize), as RGB pictures: one at a time, which bounds memory. */
  async decode(ids: NDArray<"i32">, { signal }: LongCallOptions = {}): Promise<Image[]> {
    const session = await this.compiled();
    const images: Image[] = [];
    for (let row = 0; row < ids.shape[0]!; row++) {
      throwIfAborted(signal, "decode");
      const outputs = await session.run({ [NAMES.ids]: rows(ids, row, row + 1) }, { signal });
      images.push(fromPixels(outputs[NAMES.pixels] as NDArray<"f32">));
    }
    return images;
  }

  private compiled(): Promise<Session> {
    this.session ??= this.compile().catch((thrown) => {
      this.session = undefined;
      throw thrown;
    });
    return this.session;
  }
}
