/** The bytes of one shard from a web server, over broken connections, in order and each once. */
import { ToklipError, throwIfAborted } from "../core/index.ts";
import type { ShardRange } from "../data/shard-source.ts";
import { followHops, type Hop, type HttpBody, mayPass, ResponseBody, waitAskedFor } from "./http-answer.ts";
import { type Patience, TransientError, withRetries } from "./retries.ts";
import { StallWatch } from "./stall-watch.ts";

/** So many bytes must come, or the end, before failures count anew: a server that sends a byte at a time is given up. */
const PROGRESS_BYTES = 2 ** 20;

/** Reads a shard, or a part of it, once. */
export class HttpShard {
  private readonly url: URL;
  private readonly patience: Patience;
  private readonly signal: AbortSignal | undefined;
  private readonly end: number;
  /** The place of the next byte, and the place that the open connection is at. */
  private at: number;
  private bodyAt = 0;
  private body: HttpBody | undefined;
  private etag: string | undefined;

  constructor(url: URL, { start = 0, end = Number.POSITIVE_INFINITY, signal }: ShardRange, patience: Patience) {
    this.url = url;
    this.patience = patience;
    this.signal = signal;
    this.at = start;
    this.end = end;
  }

  /**
   * Yields the bytes. Where the server knows no ranges, what lies before them is read and dropped.
   * @throws DOWNLOAD_FAILED; FILE_CORRUPT when the shard changes between two connections; ABORTED
   */
  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(this.signal, this.name);
    try {
      for (let isOver = false; !isOver; ) {
        const pieces: Uint8Array[] = [];
        const goal = Math.min(this.end, this.at + PROGRESS_BYTES);
        isOver = await withRetries(this.patience, this.signal, () => this.fill(pieces, goal));
        yield* pieces;
      }
    } finally {
      this.disconnect();
    }
  }

  /** Adds what comes up to the goal. @returns whether that was all */
  private async fill(pieces: Uint8Array[], goal: number): Promise<boolean> {
    try {
      while (this.at < goal) {
        this.body ??= await this.connect();
        const bytes = await this.body.next();
        if (bytes === undefined) return true;
        const wanted = this.wanted(bytes);
        if (wanted.byteLength > 0) pieces.push(wanted);
      }
      return this.at >= this.end;
    } catch (thrown) {
      this.disconnect();
      throw thrown;
    }
  }

  /** The part of the connection's next bytes that was not read yet. */
  private wanted(bytes: Uint8Array): Uint8Array {
    const from = this.at - this.bodyAt;
    const wanted = bytes.subarray(from, Math.max(from, this.end - this.bodyAt));
    this.bodyAt += bytes.byteLength;
    this.at += wanted.byteLength;
    return wanted;
  }

  private async connect(): Promise<HttpBody> {
    const watch = new StallWatch(this.patience.stallMs, this.signal);
    try {
      let last: Hop | undefined;
      for await (const hop of followHops("GET", this.url, () => this.rangeHeader(), watch)) last = hop;
      const body = this.accept(last!, watch);
      this.bodyAt = body.start;
      return body;
    } catch (thrown) {
      watch.end();
      throw thrown;
    }
  }

  private rangeHeader(): Record<string, string> {
    const last = this.end === Number.POSITIVE_INFINITY ? "" : this.end - 1;
    return this.at === 0 && last === "" ? {} : { range: `bytes=${this.at}-${last}` };
  }

  /** @throws DOWNLOAD_FAILED, a TransientError where asking again may help; FILE_CORRUPT */
  private accept(hop: Hop, watch: StallWatch): HttpBody {
    const { status, headers } = hop.response;
    if (status === 416 && this.at > 0) return this.nothing(watch);
    if (mayPass(status)) throw new TransientError(`${this.name}: status ${status}`, waitAskedFor(hop.response));
    if (status !== 200 && status !== 206) throw new ToklipError("DOWNLOAD_FAILED", `${this.name}: status ${status}`);
    const etag = headers.get("etag") ?? undefined;
    // Weak ones may differ from server to server for the same bytes.
    if (etag !== undefined && !etag.startsWith("W/")) {
      this.etag ??= etag;
      if (etag !== this.etag) throw new ToklipError("FILE_CORRUPT", `${this.name}: changed while it was read`);
    }
    const body = new ResponseBody(hop, watch);
    if (body.start <= this.at) return body;
    throw new TransientError(`${this.name}: other bytes came than were asked for`);
  }

  /** The shard has no bytes from here on. */
  private nothing(watch: StallWatch): HttpBody {
    return { start: this.at, next: async () => undefined, close: () => watch.end() };
  }

  private disconnect(): void {
    this.body?.close();
    this.body = undefined;
  }

  /** Without the query, which may hold a signature. */
  private get name(): string {
    return `${this.url.host}${this.url.pathname}`;
  }
}
