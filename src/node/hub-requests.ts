/**
 * Requests to a model hub: what it says of a file, and the file's bytes from any place on.
 *
 * Redirects are followed here and not by `fetch`, for two reasons: large files come from other hosts, which must never
 * see the access token; and what the hub says of a file stands in the headers of the redirect itself. Messages name
 * hosts and never whole addresses, which may hold signatures. Proxies set in the environment are not used: Node's `fetch`
 * knows none before version 24.
 */
import { ToklipError } from "../core/index.ts";
import { COMMIT } from "./hub-cache.ts";
import type { HubName } from "./hub-name.ts";
import { TransientError } from "./retries.ts";
import { StallWatch } from "./stall-watch.ts";

/** What the hub says of one file at one time. */
export interface HubFile {
  readonly commit: string;
  /** Names the content; the SHA-256 (64 hex digits) of files in large-file storage. */
  readonly etag: string;
  readonly size: number | undefined;
}

/** An open answer. */
export interface HubBody {
  /** Where its bytes belong; NaN where the server does not say, or has no bytes there. */
  readonly start: number;
  /** The next bytes; undefined at the end. @throws TransientError (DOWNLOAD_FAILED), ABORTED */
  next(): Promise<Uint8Array | undefined>;
  /** Lets go of the connection. */
  close(): void;
}

interface Hop {
  readonly url: URL;
  readonly response: Response;
}

const MAX_REDIRECTS = 8;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** 408 too slow, 425 too early, 429 too many requests. */
const TRY_AGAIN = new Set([408, 425, 429]);
/** The longest wait that a server may ask for. */
const MAX_WAIT_SECONDS = 60;
/** An etag names a file, so it must be a plain name. */
const ETAG = /^[A-Za-z0-9_-][\w.-]{0,199}$/;

/** The answer to one who has more bytes than there are. */
const NO_SUCH_PART: HubBody = { start: Number.NaN, next: async () => undefined, close: () => undefined };

export class HubRequests {
  private readonly endpoint: URL;
  private readonly token: string | undefined;
  private readonly stallMs: number;
  private readonly signal: AbortSignal | undefined;

  /** @param stallMs how long a server may send nothing before the connection counts as broken */
  constructor(endpoint: URL, token: string | undefined, stallMs: number, signal: AbortSignal | undefined) {
    this.endpoint = endpoint;
    this.token = token;
    this.stallMs = stallMs;
    this.signal = signal;
  }

  /** Asks what a file is now. @throws DOWNLOAD_FAILED, ABORTED */
  async describe(name: HubName, revision: string): Promise<HubFile> {
    const watch = new StallWatch(this.stallMs, this.signal);
    let commit: string | null = null;
    let etag: string | null = null;
    let size: string | null = null;
    try {
      for await (const { url, response } of this.hops("HEAD", name, revision, {}, watch)) {
        this.refuseFailure(name, revision, { url, response });
        const { headers, ok } = response;
        commit ??= headers.get("x-repo-commit");
        etag ??= headers.get("x-linked-etag") ?? (ok ? headers.get("etag") : null);
        size ??= headers.get("x-linked-size") ?? (ok ? headers.get("content-length") : null);
        if (commit && etag) break;
      }
    } finally {
      watch.end();
    }
    return this.checkFile(commit, etag, size);
  }

  /** Asks for a file's bytes from `start` on. Servers may send them all nevertheless. @throws DOWNLOAD_FAILED, ABORTED */
  async open(name: HubName, commit: string, start: number): Promise<HubBody> {
    const watch = new StallWatch(this.stallMs, this.signal);
    try {
      const range: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {};
      let last: Hop | undefined;
      for await (const hop of this.hops("GET", name, commit, range, watch)) last = hop;
      if (last!.response.status === 416) return NO_SUCH_PART;
      this.refuseFailure(name, commit, last!);
      return new ResponseBody(last!, watch);
    } catch (thrown) {
      watch.end();
      throw thrown;
    }
  }

  /** Every answer on the way, the last one being no redirect. */
  private async *hops(
    method: "HEAD" | "GET",
    name: HubName,
    revision: string,
    headers: Readonly<Record<string, string>>,
    watch: StallWatch,
  ): AsyncGenerator<Hop> {
    let url = this.address(name, revision);
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const response = await this.request(method, url, headers, watch);
      yield { url, response };
      if (!REDIRECTS.has(response.status)) return;
      await response.body?.cancel();
      url = redirected(url, response.headers.get("location") ?? "//");
    }
    throw new ToklipError("DOWNLOAD_FAILED", `${url.host}: more than ${MAX_REDIRECTS} redirects`);
  }

  private async request(
    method: string,
    url: URL,
    headers: Readonly<Record<string, string>>,
    watch: StallWatch,
  ): Promise<Response> {
    const ours = this.token !== undefined && url.origin === this.endpoint.origin;
    try {
      return await fetch(url, {
        method,
        redirect: "manual",
        signal: watch.signal,
        // Compressed bytes would have another length than the hub says.
        headers: { ...headers, "accept-encoding": "identity", ...(ours && { authorization: `Bearer ${this.token}` }) },
      });
    } catch (thrown) {
      throw watch.explain(thrown, url);
    }
  }

  private address({ owner, repo, path }: HubName, revision: string): URL {
    const inRepo = path.split("/").map(encodeURIComponent).join("/");
    const base = this.endpoint.href.replace(/[?#].*$/, "").replace(/\/+$/, "");
    return new URL(`${base}/${owner}/${repo}/resolve/${encodeURIComponent(revision)}/${inRepo}`);
  }

  /** @throws DOWNLOAD_FAILED, a TransientError where asking again may help */
  private refuseFailure(name: HubName, revision: string, { url, response }: Hop): void {
    const { status } = response;
    const isHub = url.origin === this.endpoint.origin;
    if (status < 300 || REDIRECTS.has(status)) return;
    const fail = (problem: string) => new ToklipError("DOWNLOAD_FAILED", `${name.text}: ${problem}`);
    if (isHub && (status === 401 || status === 403)) throw fail(this.refusedMessage(url, name, status));
    if (isHub && status === 404) {
      const { owner, repo, path } = name;
      throw fail(`${url.host} has no repository ${owner}/${repo}, or no file ${path} in its revision ${revision}`);
    }
    const problem = `${url.host} answered with status ${status}`;
    // Another host's "forbidden" is a signature that ran out: the hub gives a new one.
    if (status >= 500 || TRY_AGAIN.has(status) || (!isHub && status === 403)) {
      throw new TransientError(`${name.text}: ${problem}`, waitAskedFor(response));
    }
    throw fail(problem);
  }

  private refusedMessage(url: URL, { owner, repo }: HubName, status: number): string {
    return this.token === undefined
      ? `${url.host} wants an access token (status ${status}): set HF_TOKEN, or check the name`
      : `${url.host} refused the access token (status ${status}): set HF_TOKEN to one that may read ${owner}/${repo}`;
  }

  private checkFile(commit: string | null, rawEtag: string | null, length: string | null): HubFile {
    const etag = (rawEtag ?? "").replace(/^W\//, "").replaceAll('"', "");
    if (!COMMIT.test(commit ?? "") || !ETAG.test(etag)) {
      throw new ToklipError("DOWNLOAD_FAILED", `${this.endpoint.host}: does not answer as a model hub does`);
    }
    return { commit: commit!, etag, size: /^\d{1,15}$/.test(length ?? "") ? Number(length) : undefined };
  }
}

class ResponseBody implements HubBody {
  readonly start: number;
  private readonly url: URL;
  private readonly reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  private readonly watch: StallWatch;

  constructor({ url, response }: Hop, watch: StallWatch) {
    this.url = url;
    this.start = response.status === 206 ? rangeStart(response) : 0;
    this.reader = response.body?.getReader();
    this.watch = watch;
  }

  async next(): Promise<Uint8Array | undefined> {
    this.watch.touch(); // the time that the caller took for the last bytes is not the server's
    try {
      return (await this.reader?.read())?.value;
    } catch (thrown) {
      throw this.watch.explain(thrown, this.url);
    }
  }

  close(): void {
    this.watch.end();
  }
}

/** Where a part begins; NaN where the answer does not say. */
function rangeStart(response: Response): number {
  return Number(/^bytes (\d{1,15})-/.exec(response.headers.get("content-range") ?? "")?.[1] ?? Number.NaN);
}

function redirected(from: URL, target: string): URL {
  const to = URL.canParse(target, from.href) ? new URL(target, from) : undefined;
  const safe = to?.protocol === "https:" || (to?.protocol === "http:" && from.protocol === "http:");
  if (to === undefined || !safe || to.username !== "" || to.password !== "") {
    throw new ToklipError("DOWNLOAD_FAILED", `${from.host}: redirects to an address that is not followed`);
  }
  return to;
}

/** Milliseconds of a Retry-After header in seconds; 0 without one. */
function waitAskedFor(response: Response): number {
  const seconds = Number(response.headers.get("retry-after") ?? 0);
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), MAX_WAIT_SECONDS) * 1000 : 0;
}
