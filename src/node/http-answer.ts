/**
 * Answers of web servers: over redirects to the last of them, and its bytes.
 *
 * Redirects are followed here and not by `fetch`: who asks may want to read each answer, or to send each host other
 * headers, and a redirect must not lead from https to http. Messages name hosts and never whole addresses, which may hold
 * signatures. Proxies set in the environment are not used: Node's `fetch` knows none before version 24.
 */
import { ToklipError } from "../core/index.ts";
import type { StallWatch } from "./stall-watch.ts";

/** An open answer. */
export interface HttpBody {
  /** Where its bytes belong; NaN where the server does not say, or has no bytes there. */
  readonly start: number;
  /** The next bytes; undefined at the end. @throws TransientError (DOWNLOAD_FAILED), ABORTED */
  next(): Promise<Uint8Array | undefined>;
  /** Lets go of the connection. */
  close(): void;
}

/** An answer on the way, and who gave it. */
export interface Hop {
  readonly url: URL;
  readonly response: Response;
}

type Headers = Readonly<Record<string, string>>;

const MAX_REDIRECTS = 8;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** 408 too slow, 425 too early, 429 too many requests. */
const TRY_AGAIN = new Set([408, 425, 429]);
/** The longest wait that a server may ask for. */
const MAX_WAIT_SECONDS = 60;

/** Whether an answer points elsewhere. */
export function isRedirect(status: number): boolean {
  return REDIRECTS.has(status);
}

/** Whether a refusal may be another answer when asked again. */
export function mayPass(status: number): boolean {
  return status >= 500 || TRY_AGAIN.has(status);
}

/**
 * Yields every answer on the way, the last one being no redirect.
 * @param headers what to send to each address; compressed bytes, which have other lengths and places, are not asked for
 * @throws TransientError, DOWNLOAD_FAILED, ABORTED
 */
export async function* followHops(
  method: "HEAD" | "GET",
  from: URL,
  headers: (url: URL) => Headers,
  watch: StallWatch,
): AsyncGenerator<Hop> {
  let url = from;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const response = await request(method, url, { ...headers(url), "accept-encoding": "identity" }, watch);
    yield { url, response };
    if (!isRedirect(response.status)) return;
    await response.body?.cancel();
    url = redirected(url, response.headers.get("location") ?? "//");
  }
  throw new ToklipError("DOWNLOAD_FAILED", `${url.host}: more than ${MAX_REDIRECTS} redirects`);
}

async function request(method: string, url: URL, headers: Headers, watch: StallWatch): Promise<Response> {
  try {
    return await fetch(url, { method, redirect: "manual", signal: watch.signal, headers });
  } catch (thrown) {
    throw watch.explain(thrown, url);
  }
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
export function waitAskedFor(response: Response): number {
  const seconds = Number(response.headers.get("retry-after") ?? 0);
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), MAX_WAIT_SECONDS) * 1000 : 0;
}

/** The bytes of the last answer. */
export class ResponseBody implements HttpBody {
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
    this.watch.touch();
    try {
      return (await this.reader?.read())?.value;
    } catch (thrown) {
      throw this.watch.explain(thrown, this.url);
    } finally {
      this.watch.rest(); // the time that the caller takes for the bytes is not the server's
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
