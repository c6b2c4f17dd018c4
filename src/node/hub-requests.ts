/**
 * Requests to a model hub: what it says of a file, and the file's bytes from any place on.
 *
 * Large files come from other hosts, which must never see the access token; what the hub says of a file stands in the
 * headers of the redirect to them.
 */
import { ToklipError } from "../core/index.ts";
import { followHops, type Hop, type HttpBody, isRedirect, mayPass, ResponseBody, waitAskedFor } from "./http-answer.ts";
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

/** An etag names a file, so it must be a plain name. */
const ETAG = /^[A-Za-z0-9_-][\w.-]{0,199}$/;

/** The answer to one who has more bytes than there are. */
const NO_SUCH_PART: HttpBody = { start: Number.NaN, next: async () => undefined, close: () => undefined };

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
  async open(name: HubName, commit: string, start: number): Promise<HttpBody> {
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
  private hops(
    method: "HEAD" | "GET",
    name: HubName,
    revision: string,
    headers: Readonly<Record<string, string>>,
    watch: StallWatch,
  ): AsyncGenerator<Hop> {
    const token = (url: URL) =>
      this.token !== undefined && url.origin === this.endpoint.origin ? { authorization: `Bearer ${this.token}` } : {};
    return followHops(method, this.address(name, revision), (url) => ({ ...headers, ...token(url) }), watch);
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
    if (status < 300 || isRedirect(status)) return;
    const fail = (problem: string) => new ToklipError("DOWNLOAD_FAILED", `${name.text}: ${problem}`);
    if (isHub && (status === 401 || status === 403)) throw fail(this.refusedMessage(url, name, status));
    if (isHub && status === 404) {
      const { owner, repo, path } = name;
      throw fail(`${url.host} has no repository ${owner}/${repo}, or no file ${path} in its revision ${revision}`);
    }
    const problem = `${url.host} answered with status ${status}`;
    // Another host's "forbidden" is a signature that ran out: the hub gives a new one.
    if (mayPass(status) || (!isHub && status === 403)) {
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
