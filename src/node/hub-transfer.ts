/**
 * The bytes of one file of the hub, onto disk: from where an earlier download stopped, over broken connections, and
 * checked at the end. Until then they lie in `<blob>.incomplete`, which only the holder of the blob's lock touches.
 */
import { type LongCallOptions, type ProgressEvent, ToklipError } from "../core/index.ts";
import type { HubName } from "./hub-name.ts";
import type { HubFile, HubRequests } from "./hub-requests.ts";
import type { LockFile } from "./lock-file.ts";
import { PartialFile } from "./partial-file.ts";
import { type Patience, TransientError, withRetries } from "./retries.ts";

const REPORT_EVERY_MS = 100;
/** Less than this between two failures is no progress: a server that sends a byte at a time is given up. */
const PROGRESS_BYTES = 1 << 20;
const SHA256 = /^[0-9a-f]{64}$/;

export interface Transfer extends LongCallOptions {
  readonly requests: HubRequests;
  readonly name: HubName;
  readonly file: HubFile;
  /** Where the whole file goes. */
  readonly blob: string;
  readonly lock: LockFile;
  readonly patience: Patience;
}

/**
 * Downloads a blob, or the rest of it. What came is kept when it fails, except when it is wrong.
 * @throws DOWNLOAD_FAILED, CHECKSUM_MISMATCH, FILE_WRITE_FAILED, ABORTED
 */
export async function transferBlob(transfer: Transfer): Promise<void> {
  const { blob, file, lock, patience, signal } = transfer;
  const partial = await PartialFile.open(`${blob}.incomplete`, signal);
  try {
    if (file.size !== undefined && partial.size > file.size) await partial.restart();
    const report = reporter(transfer);
    report(partial.size);
    if (partial.size !== file.size) {
      const progressed = progressOf(partial);
      await withRetries(patience, signal, () => receive(transfer, partial, report), progressed);
    }
    await check(transfer, partial);
    await lock.confirm();
    await partial.commit(blob);
    report(partial.size, true);
  } finally {
    await partial.close();
  }
}

/** One connection's worth of bytes. */
async function receive(transfer: Transfer, partial: PartialFile, report: Report): Promise<void> {
  const { requests, name, file, lock } = transfer;
  const body = await requests.open(name, file.commit, partial.size);
  try {
    if (body.start !== partial.size) await restartFor(body.start, partial, name);
    for (let bytes = await body.next(); bytes !== undefined; bytes = await body.next()) {
      await lock.confirm();
      await partial.append(bytes);
      report(partial.size);
      if (partial.size > (file.size ?? Number.POSITIVE_INFINITY)) return; // `check` refuses it
    }
  } finally {
    body.close();
  }
  if (partial.size < (file.size ?? 0)) throw new TransientError(`${name.text}: the connection ended early`);
}

/** The server sends all bytes although a part was asked for, or another part, or none. */
async function restartFor(start: number, partial: PartialFile, name: HubName): Promise<void> {
  await partial.restart();
  if (start !== 0) throw new TransientError(`${name.text}: other bytes came than were asked for`);
}

/** @throws CHECKSUM_MISMATCH, the file being removed */
async function check({ name, file }: Transfer, partial: PartialFile): Promise<void> {
  const { size = partial.size, etag } = file;
  const problem =
    partial.size !== size
      ? `${size} bytes were expected, ${partial.size} or more came`
      : SHA256.test(etag) && partial.sha256() !== etag
        ? `its SHA-256 should be ${etag}, it is ${partial.sha256()}`
        : undefined;
  if (problem === undefined) return;
  await partial.remove();
  throw new ToklipError("CHECKSUM_MISMATCH", `${name.text}: ${problem}`);
}

/** Whether the file is longer than ever before, by enough. */
function progressOf(partial: PartialFile): () => boolean {
  let longest = partial.size;
  return () => {
    if (partial.size < longest + PROGRESS_BYTES) return false;
    longest = partial.size;
    return true;
  };
}

type Report = (done: number, last?: boolean) => void;

/** Reports bytes, not too often; the first and the last count always. */
function reporter({ name, file, onProgress }: Transfer): Report {
  let next = Number.NEGATIVE_INFINITY;
  return (done, last = false) => {
    const now = performance.now();
    if (!last && now < next) return;
    next = now + REPORT_EVERY_MS;
    const total = file.size === undefined ? {} : { total: file.size };
    const event: ProgressEvent = { stage: "download", item: name.text, done, ...total, unit: "bytes" };
    onProgress?.(event);
  };
}
