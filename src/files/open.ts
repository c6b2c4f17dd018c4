/** Opening a checkpoint of any format, told by its first bytes and not by its name. */
import { type ByteSource, ToklipError } from "../core/index.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { openSafetensors } from "./safetensors.ts";
import { type OpenSibling, openShardedSafetensors } from "./safetensors-shards.ts";
import { openTorch, type TorchOptions } from "./torch.ts";

/** Enough to see the mark of a tar archive. */
const HEAD_BYTES = 512;

interface Format {
  readonly matches: (head: Uint8Array, text: string) => boolean;
  readonly open?: (
    source: ByteSource,
    openSibling: OpenSibling | undefined,
    options: TorchOptions,
  ) => Promise<Checkpoint>;
  /** What a file is that cannot be opened, and what to do. */
  readonly refusal?: string;
}

/** In this order: the first that matches is taken. */
const FORMATS: readonly Format[] = [
  {
    // A header below 4 GB, so four zero bytes, which no text has; then its first brace.
    matches: (head) => head.subarray(4, 8).every((byte) => byte === 0) && head[8] === 0x7b,
    open: (source) => openSafetensors(source),
  },
  { matches: (_, text) => text.startsWith("PK\x03\x04"), open: (source, _, options) => openTorch(source, options) },
  { matches: (_, text) => /^\s*\{/.test(text), open: openIndex },
  {
    matches: (head, text) => (head[0] === 0x80 && head[1]! <= 5) || text.slice(257, 262) === "ustar",
    refusal: "a checkpoint of PyTorch before 1.6: load it and save it again with a current PyTorch",
  },
  {
    matches: (_, text) => text.startsWith("version https://git-lfs"),
    refusal: "a Git LFS pointer, not the file itself",
  },
  { matches: (_, text) => /^\s*<(?:!doctype|html)/i.test(text), refusal: "a web page, not the file itself" },
];

/**
 * Opens a checkpoint: .safetensors, the index of several, or a PyTorch zip file. `close()` closes the source; when
 * opening fails the source stays the caller's.
 * @param openSibling opens another file beside this one, which an index needs.
 * @throws FILE_UNSUPPORTED for any other file; FILE_CORRUPT; CHECKPOINT_MISMATCH
 */
export async function openCheckpoint(
  source: ByteSource,
  openSibling?: OpenSibling,
  options: TorchOptions = {},
): Promise<Checkpoint> {
  const head = await source.read(0, Math.min(HEAD_BYTES, source.byteLength));
  const text = String.fromCharCode(...head);
  const format = FORMATS.find(({ matches }) => matches(head, text));
  if (format?.open !== undefined) return format.open(source, openSibling, options);
  const what = format?.refusal ?? (source.byteLength === 0 ? "empty" : "neither safetensors nor a PyTorch checkpoint");
  throw new ToklipError("FILE_UNSUPPORTED", `checkpoint: the file is ${what} (${source.name})`);
}

function openIndex(source: ByteSource, openSibling: OpenSibling | undefined): Promise<Checkpoint> {
  if (openSibling !== undefined) return openShardedSafetensors(source, openSibling);
  throw new ToklipError("ARGUMENT_INVALID", `checkpoint: an index needs the files beside it (${source.name})`);
}
