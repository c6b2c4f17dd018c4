/**
 * Files of the Hugging Face hub, through the cache that Python's huggingface_hub uses: either finds what the other has
 * downloaded. Nothing is requested for a file that is in the cache, and nothing is downloaded unless asked.
 *
 * Written with fetch: the package @huggingface/hub 2.17 (`downloadFileToCacheDir`) neither resumes nor checks hashes,
 * tells no progress, and writes no `refs`, so Python would not find its downloads by branch. What is not here: spaces
 * and data sets, whole repositories, the Xet protocol (the hub serves its files over HTTP as well).
 */
import { dirname } from "node:path";
import { type LongCallOptions, ToklipError, throwIfAborted } from "../core/index.ts";
import { writeError } from "./file-errors.ts";
import { HubCache, isFile } from "./hub-cache.ts";
import { checkRevision, type HubName, parseHubName } from "./hub-name.ts";
import { type HubFile, HubRequests } from "./hub-requests.ts";
import { type HubOptions, readHubSettings } from "./hub-settings.ts";
import { transferBlob } from "./hub-transfer.ts";
import { withLock } from "./lock-file.ts";
import { makeFolder } from "./make-folder.ts";
import { PATIENCE, type Patience, withRetries } from "./retries.ts";

export { isHubName } from "./hub-name.ts";

export interface HubFileOptions extends HubOptions, LongCallOptions {
  /** A branch, tag or commit. Default `main`. */
  readonly revision?: string | undefined;
  /** Lets the file be downloaded when it is not in the cache. Default false. */
  readonly download?: boolean | undefined;
  /** How long to bear with a bad network. Default five failures in a row. */
  readonly patience?: Partial<Patience> | undefined;
}

/**
 * The local path of a hub file, from the cache or downloaded into it. A download that was interrupted goes on where it
 * stopped; the whole is checked against the hub's SHA-256 where it has one. Progress: `download`, in bytes.
 * @param text `owner/repo/path/in/repo`
 * @throws ARGUMENT_INVALID for another kind of name; FILE_NOT_FOUND when it is not in the cache and `download` is not
 * set, OFFLINE when it is and HF_HUB_OFFLINE forbids it; DOWNLOAD_FAILED, CHECKSUM_MISMATCH, FILE_WRITE_FAILED, ABORTED
 * @example
 * await resolveHubFile("TencentARC/TokLIP/TokLIP_S_256.pt", { download: true });
 */
export async function resolveHubFile(text: string, options: HubFileOptions = {}): Promise<string> {
  const name = parseHubName(text);
  const revision = checkRevision(options.revision ?? "main");
  const settings = await readHubSettings(options);
  const cache = new HubCache(settings.cacheDir, name);
  const { signal } = options;
  throwIfAborted(signal, text);
  const cached = await cache.find(name, revision);
  if (cached !== undefined) return cached;
  if (options.download !== true) {
    throw new ToklipError("FILE_NOT_FOUND", `${text}: not in the cache; fetch it with: toklip download ${text}`);
  }
  if (settings.offline) throw new ToklipError("OFFLINE", `${text}: not in the cache, and HF_HUB_OFFLINE is set`);
  const patience = { ...PATIENCE, ...options.patience };
  const requests = new HubRequests(settings.endpoint, settings.token, patience.stallMs, signal);
  try {
    const file = await withRetries(patience, signal, () => requests.describe(name, revision));
    await ensureBlob(cache, requests, name, file, patience, options);
    return await cache.link(name, revision, file.commit, file.etag);
  } catch (thrown) {
    throw writeError(thrown, settings.cacheDir); // what is not yet a ToklipError comes from the file system
  }
}

/** Downloads the content unless it is there, by this process or another one that is at it. */
async function ensureBlob(
  cache: HubCache,
  requests: HubRequests,
  name: HubName,
  file: HubFile,
  patience: Patience,
  { signal, onProgress }: LongCallOptions,
): Promise<void> {
  const blob = cache.blobPath(file.etag);
  await makeFolder(dirname(blob));
  await withLock(`${blob}.toklip-lock`, signal, async (lock) => {
    if (await isFile(blob)) return;
    await transferBlob({ requests, name, file, blob, lock, patience, signal, onProgress });
  });
}
