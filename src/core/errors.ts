/**
 * The one error class of the project and the one table of its codes.
 * A code never changes its meaning; new meanings get new codes.
 */

/** Every error code: what it means, and what a user can do about it. */
export const ERROR_CODES = {
  ARGUMENT_INVALID: "check the argument against the documentation",
  SHAPE_MISMATCH: "pass an array of the expected shape",
  DTYPE_MISMATCH: "pass an array of the expected dtype",
  FILE_NOT_FOUND: "check the path",
  FILE_READ_FAILED: "check that it is a file, that you may read it, and that its disk is well",
  FILE_CORRUPT: "the file is damaged or not what it claims to be: get a fresh copy",
  FILE_UNSUPPORTED: "convert the file to a supported format",
  FILE_EXISTS: "choose another output path, or remove what is there",
  FOLDER_BUSY: "wait for the other run to end, or choose another folder",
  FILE_WRITE_FAILED: "check that the folder exists, is writable and has free space",
  CHECKPOINT_MISMATCH: "use the configuration that belongs to this checkpoint (--config)",
  CONFIG_INVALID: "correct the configuration",
  CONFIG_UNKNOWN: "name a built-in configuration or give the path of a JSON file (--config)",
  IMAGE_UNREADABLE: "check that the file is a complete picture in a supported format",
  IMAGE_TOO_LARGE: "make the picture smaller, or raise the pixel limit",
  NO_IMAGES: "name files, folders or globs that contain pictures",
  IDS_OUT_OF_RANGE: "use ids made with the same codebook",
  IDS_GRID_MISMATCH: "use ids made at the model's image size",
  LOGITS_INVALID: "get a fresh copy of the checkpoint: its weights, or what they are fed, give no numbers",
  TOKENIZER_INVALID: "give a Hugging Face tokenizer.json (--tokenizer)",
  TOKENIZER_MISMATCH: "use the tokenizer that belongs to this model (--tokenizer)",
  RESUME_MISMATCH: "use the model and options the run was begun with, or another output path",
  DATA_INVALID: "correct the data set's files or its description",
  DATA_EMPTY: "give a data set that has samples",
  DATA_TOO_BAD: "look at the listed samples, or raise the limit of bad samples",
  TRAINING_DIVERGED:
    "begin a run with the named checkpoint's model.safetensors as init, and a lower learning rate or gradient clipping",
  PEER_LOST: "resume from the last checkpoint",
  MPI_UNAVAILABLE: "install MPICH or Open MPI and the npm package koffi, or train in a single process",
  OFFLINE: "download while online, or leave offline mode",
  DOWNLOAD_FAILED: "check the name, the network and the access token, then run the command again to resume",
  CHECKSUM_MISMATCH: "run the command again: the damaged download was removed",
  DEVICE_UNAVAILABLE: "use another device",
  GRAPH_INVALID: "correct the model code that built this graph",
  OP_UNSUPPORTED: "use another formulation or another backend",
  RUNTIME_FAILED: "report this with the message",
  OUT_OF_MEMORY: "use a smaller batch or a smaller model",
  ABORTED: "run it again",
  DISPOSED: "do not use an object after dispose()",
  USAGE: "see --help",
  INTERNAL: "report this with the message",
} as const;

/** One of the codes of `ERROR_CODES`. */
export type ErrorCode = keyof typeof ERROR_CODES;

/**
 * An error a user can act on. Its message is one sentence: the thing, what was expected, what came, where;
 * and ends with the code in brackets. Control characters, which names from outside may hold, are shown as "?", so that
 * the message stays on one line and does nothing to a terminal.
 */
export class ToklipError extends Error {
  readonly code: ErrorCode;
  /** The message without the code: what another error's message may quote. */
  readonly reason: string;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(`${oneSentence(message)} [${code}]`, options);
    this.name = "ToklipError";
    this.code = code;
    this.reason = message;
  }

  /** What to do about it, in a few words. */
  get advice(): string {
    return ERROR_CODES[this.code];
  }
}

/** Without control characters, and without the code of an error that was wrapped. */
function oneSentence(message: string): string {
  const sentence = message.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
  const code = / \[([A-Z_]+)\]$/.exec(sentence)?.[1];
  return code !== undefined && Object.hasOwn(ERROR_CODES, code) ? sentence.slice(0, -code.length - 3) : sentence;
}

/** Throws `ABORTED` if the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw new ToklipError("ABORTED", `${what}: stopped on request`, { cause: signal.reason });
}

/** The message of anything that was thrown, on one line; of a `ToklipError` without its code. */
export function messageOf(thrown: unknown): string {
  const text =
    thrown instanceof ToklipError ? thrown.reason : thrown instanceof Error ? thrown.message : String(thrown);
  return text.replace(/\s*\n\s*/g, " ").trim();
}
