/** What long work tells its caller while it runs. */

/** One step of progress. `total` is absent while it is not known. */
export interface ProgressEvent {
  /** What is being done: "download", "load", "tokenize", ... */
  readonly stage: string;
  /** The thing it is being done to: a file name, a tensor name. */
  readonly item?: string;
  readonly done: number;
  readonly total?: number;
  readonly unit: "bytes" | "images" | "tensors" | "texts" | "steps" | "files";
}

/** The trailing options of every public call that can take long. */
export interface LongCallOptions {
  /** Stops the call when it fires. */
  readonly signal?: AbortSignal | undefined;
  /** Is told how far the work is. */
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined;
}
