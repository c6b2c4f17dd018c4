// Downloads where servers lie, fall silent or send elsewhere, and where the disk is full. Everything is on this machine.
import { createHash, randomBytes } from "node:crypto";
import { lstat, mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ErrorCode, ProgressEvent } from "../../src/core/index.ts";
import { type HubFileOptions, isHubName, resolveHubFile } from "../../src/node/hub.ts";
import { readHubSettings } from "../../src/node/hub-settings.ts";

const links = vi.hoisted(() => ({ impossible: false }));
vi.mock("node:fs/promises", async (load) => {
  const real = await load<typeof import("node:fs/promises")>();
  const refused = Object.assign(new Error("operation not permitted"), { code: "EPERM" });
  return {
    ...real,
    symlink: (...paths: [string, string]) => (links.impossible ? Promise.reject(refused) : real.symlink(...paths)),
  };
});

const NAME = "owner/repo/models/big.pt";
const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const CONTENT = randomBytes(2_000_000);
const HALF = 1_000_000;
const ETAG = createHash("sha256").update(CONTENT).digest("hex");

interface Asked {
  readonly url: string;
  readonly method: string;
  /** Where the bytes that are asked for begin. */
  readonly start: number;
  readonly token: string | undefined;
}
type Answer = (asked: Asked, response: ServerResponse) => void;

/** What the hub says of the file: itself without redirect, or the redirect to the content server. */
const metadata = (etag = ETAG, commit = COMMIT) => ({
  "x-repo-commit": commit,
  "x-linked-etag": `"${etag}"`,
  "x-linked-size": String(CONTENT.byteLength),
});
const goodHub: Answer = (_, response) =>
  response.writeHead(302, { ...metadata(), location: `${addressOf(cdn)}/signed?key=secret` }).end();
const goodCdn: Answer = ({ start }, response) => {
  const range = { "content-range": `bytes ${start}-${CONTENT.byteLength - 1}/${CONTENT.byteLength}` };
  response.writeHead(start > 0 ? 206 : 200, start > 0 ? range : {}).end(CONTENT.subarray(start));
};
/** Sends the first half, then nothing. */
const silentCdn: Answer = (_, response) =>
  response.writeHead(200, { "content-length": CONTENT.byteLength }).write(CONTENT.subarray(0, HALF));
/** Gives the answers in turn, the last one again and again. */
const inTurn =
  (...answers: Answer[]): Answer =>
  (asked, response) =>
    (answers.length > 1 ? answers.shift()! : answers[0]!)(asked, response);
const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    response.writeHead(code, headers).end();

let root: string;
let hub: Server;
let cdn: Server;
let answers: { hub: Answer; cdn: Answer };
let seen: { readonly hub: Asked[]; readonly cdn: Asked[] };

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "toklip-hub-"));
  answers = { hub: goodHub, cdn: goodCdn };
  seen = { hub: [], cdn: [] };
  [hub, cdn] = [await serve("hub"), await serve("cdn")];
  for (const name of ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"]) vi.stubEnv(name, undefined);
  vi.stubEnv("HF_HOME", root);
  vi.stubEnv("HF_ENDPOINT", addressOf(hub));
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  for (const server of [hub, cdn]) {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
  await rm(root, { recursive: true, force: true });
});

async function serve(role: "hub" | "cdn"): Promise<Server> {
  const server = createServer(({ url, method, headers }, response) => {
    const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    const asked = { url: url!, method: method!, start, token: headers.authorization };
    seen[role].push(asked);
    answers[role](asked, response);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const get = (options: HubFileOptions = {}, name = NAME) =>
  resolveHubFile(name, { download: true, ...options, patience: { backoffMs: 1, ...options.patience } });
const blobs = () => join(root, "hub", "models--owner--repo", "blobs");
const partial = () => join(blobs(), `${ETAG}.incomplete`);
const starts = () => seen.cdn.map(({ start }) => start);

async function leavePartial(bytes: Uint8Array) {
  await mkdir(dirname(partial()), { recursive: true });
  await writeFile(partial(), bytes);
}

async function expectWhole(path: string) {
  expect((await readFile(path)).equals(CONTENT)).toBe(true);
}

async function expectFailure(promise: Promise<unknown>, code: ErrorCode, ...texts: string[]) {
  const error = await promise.then(
    () => expect.unreachable("it succeeded"),
    (thrown: Error) => thrown,
  );
  expect(error).toMatchObject({ name: "ToklipError", code });
  for (const text of texts) expect(error.message).toContain(text);
  expect(error.message).not.toContain("secret"); // neither tokens nor signed addresses
}

describe("a content server", () => {
  it("that falls silent is left, and the rest is asked for", async () => {
    answers.cdn = inTurn(silentCdn, goodCdn);
    await expectWhole(await get({ patience: { stallMs: 200 } }));
    expect(starts()).toEqual([0, HALF]);
  });

  it("that sends another part than was asked for is asked for the whole", async () => {
    await leavePartial(CONTENT.subarray(0, HALF));
    const other: Answer = (_, response) =>
      response.writeHead(206, { "content-range": `bytes 5-9/${CONTENT.byteLength}` }).end("wrong");
    answers.cdn = inTurn(other, goodCdn);
    await expectWhole(await get());
    expect(starts()).toEqual([HALF, 0]);
  });

  it("that has no such part is asked for the whole", async () => {
    await leavePartial(CONTENT.subarray(0, HALF));
    answers.cdn = inTurn(status(416), goodCdn);
    await expectWhole(await get());
    expect(starts()).toEqual([HALF, 0]);
  });

  it("that sends more than the hub said is not believed, and nothing is kept", async () => {
    answers.cdn = (_, response) => response.end(Buffer.concat([CONTENT, CONTENT]));
    await expectFailure(get(), "CHECKSUM_MISMATCH", NAME, "2000000");
    expect(await readdir(blobs())).toEqual([]);
  });

  it("that sends compressed bytes is not believed", async () => {
    answers.cdn = (_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(CONTENT);
    await expectFailure(get(), "DOWNLOAD_FAILED");
  });

  it("that refuses a signature is asked again with a new one", async () => {
    answers.cdn = inTurn(status(403), goodCdn);
    await expectWhole(await get());
    expect(seen.hub.map(({ method }) => method)).toEqual(["HEAD", "GET", "GET"]);
  });

  it("that wants to be left alone is waited for", async () => {
    answers.cdn = inTurn(status(429, { "retry-after": "1" }), goodCdn);
    const began = performance.now();
    await expectWhole(await get());
    expect(performance.now() - began).toBeGreaterThan(950);
  });

  it("that never gets on, one byte at a time, is given up", async () => {
    answers.cdn = ({ start }, response) => {
      const length = CONTENT.byteLength - start;
      response.writeHead(206, {
        "content-length": length,
        "content-range": `bytes ${start}-${CONTENT.byteLength - 1}/${CONTENT.byteLength}`,
      });
      response.write(CONTENT.subarray(start, start + 1), () => setTimeout(() => response.destroy(), 20));
    };
    await expectFailure(get({ patience: { attempts: 4 } }), "DOWNLOAD_FAILED");
    expect(seen.cdn).toHaveLength(4);
  });

  it("that breaks off leaves what came for the next call", async () => {
    answers.cdn = inTurn((asked, response) => {
      silentCdn(asked, response);
      setTimeout(() => response.destroy(), 50);
    }, status(500));
    await expectFailure(get(), "DOWNLOAD_FAILED", "500");
    expect((await stat(partial())).size).toBe(HALF);
    answers.cdn = goodCdn;
    await expectWhole(await get());
    expect(starts().at(-1)).toBe(HALF);
  });
});

describe("a hub", () => {
  it("that moved the repository is followed on its own host, with the token", async () => {
    const text = Buffer.from("{}\n");
    const etag = "0967ef424bce6791893e9a57bb952f80fd536e93"; // of git
    answers.hub = ({ url, method }, response) => {
      if (!url.startsWith("/moved"))
        return status(307, { location: "/moved/x", etag: '"of-the-redirect"' })({} as Asked, response);
      response.writeHead(200, { "x-repo-commit": COMMIT, etag: `W/"${etag}"`, "content-length": text.byteLength });
      response.end(method === "GET" ? text : undefined);
    };
    const path = await get({ token: "hf_secret" }, "owner/repo/config.json");
    expect(await readFile(path, "utf8")).toBe("{}\n");
    expect(await readdir(blobs())).toEqual([etag]);
    expect(new Set(seen.hub.map(({ token }) => token))).toEqual(new Set(["Bearer hf_secret"]));
  });

  it.each(["../../../../evil", "", "..", "a/b", "a\\b"])("may not name a blob %j", async (etag) => {
    answers.hub = status(200, metadata(etag));
    await expectFailure(get(), "DOWNLOAD_FAILED");
    expect(await readdir(root)).toEqual([]);
  });

  it.each(["../../x", "", "main", `${COMMIT}/..`])("may not name a commit %j", async (commit) => {
    answers.hub = status(200, metadata(ETAG, commit));
    await expectFailure(get(), "DOWNLOAD_FAILED");
    expect(await readdir(root)).toEqual([]);
  });

  it("that redirects in circles is left", async () => {
    answers.hub = ({ url }, response) => response.writeHead(302, { location: `${url}x` }).end();
    await expectFailure(get(), "DOWNLOAD_FAILED", "redirects");
    expect(seen.hub.length).toBeLessThan(20);
  });

  it.each(["file:///etc/passwd", "data:text/plain,x", "ftp://127.0.0.1/x", "http://[", "http://u:p@127.0.0.1/"])(
    "that redirects to %s is not followed",
    async (location) => {
      answers.hub = ({ method }, response) =>
        response.writeHead(302, { ...(method === "HEAD" && metadata()), location }).end();
      await expectFailure(get(), "DOWNLOAD_FAILED");
    },
  );

  it("that redirects to nowhere is not believed", async () => {
    answers.hub = (_, response) => response.writeHead(302, metadata()).end();
    await expectFailure(get(), "DOWNLOAD_FAILED");
  });

  it("that refuses for a reason of its own is asked once", async () => {
    answers.hub = status(418);
    await expectFailure(get(), "DOWNLOAD_FAILED", "418");
    expect(seen.hub).toHaveLength(1);
  });

  it("that is not there is named", async () => {
    await expectFailure(get({ endpoint: "http://127.0.0.1:1" }), "DOWNLOAD_FAILED", "127.0.0.1:1");
  });

  it.each(["nonsense", "file:///x", "http://user:secret@127.0.0.1"])("cannot be at %s", async (endpoint) => {
    await expectFailure(get({ endpoint }), "ARGUMENT_INVALID");
  });

  it("never sees a token that is none, and the message does not repeat it", async () => {
    await expectFailure(get({ token: "secret\r\nX-Evil: 1" }), "ARGUMENT_INVALID");
    expect(seen.hub).toEqual([]);
  });
});

describe("the caller", () => {
  it("who stops one of two downloads does not stop the other, which goes on where the first was", async () => {
    answers.cdn = inTurn(silentCdn, goodCdn);
    const stop = new AbortController();
    const first = get({ signal: stop.signal });
    await vi.waitFor(async () => expect((await stat(partial())).size).toBe(HALF));
    const second = get();
    stop.abort();
    await expectFailure(first, "ABORTED");
    await expectWhole(await second);
    expect(starts()).toEqual([0, HALF]);
  });

  it("who stops while waiting for another download is not kept", async () => {
    answers.cdn = silentCdn;
    const [first, second] = [new AbortController(), new AbortController()];
    const downloading = get({ signal: first.signal });
    await vi.waitFor(async () => expect((await stat(partial())).size).toBe(HALF));
    const waiting = get({ signal: second.signal });
    await vi.waitFor(() => expect(seen.hub.filter(({ method }) => method === "HEAD")).toHaveLength(2));
    second.abort();
    await expectFailure(waiting, "ABORTED");
    first.abort();
    await expectFailure(downloading, "ABORTED");
  });

  it("whose progress callback throws ends the download, which is not tried again", async () => {
    const onProgress = ({ done }: ProgressEvent) => {
      if (done > 0) throw new Error("from the caller");
    };
    await expect(get({ onProgress })).rejects.toThrow("from the caller");
    expect(seen.cdn).toHaveLength(1);
  });
});

describe("a full disk", () => {
  it("is an error of writing; what was written stays and is gone on with", async () => {
    await leavePartial(CONTENT.subarray(0, HALF));
    const handle = await open(partial());
    const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    const write = vi.spyOn(Object.getPrototypeOf(handle), "write").mockRejectedValue(full);
    await handle.close();
    await expectFailure(get(), "FILE_WRITE_FAILED", "ENOSPC");
    expect((await stat(partial())).size).toBe(HALF);
    write.mockRestore();
    await expectWhole(await get());
    expect(starts()).toEqual([HALF, HALF]);
  });

  it("or a cache that is no folder is an error of writing", async () => {
    await writeFile(join(root, "file"), "");
    await expectFailure(get({ cacheDir: join(root, "file") }), "FILE_WRITE_FAILED");
  });
});

describe("a system without links", () => {
  afterEach(() => {
    links.impossible = false;
  });

  it("gets a copy, which is found the next time, and leaves nothing else", async () => {
    links.impossible = true;
    const path = await get();
    expect((await lstat(path)).isFile()).toBe(true);
    await expectWhole(path);
    expect(await readdir(dirname(path))).toEqual(["big.pt"]);
    expect(await get({ download: false })).toBe(path);
  });
});

describe("the environment", () => {
  it("says where the cache is; empty variables say nothing", async () => {
    const cacheOf = async (env: NodeJS.ProcessEnv) => (await readHubSettings({ token: "x" }, env)).cacheDir;
    const usual = join(homedir(), ".cache", "huggingface", "hub");
    expect(await cacheOf({})).toBe(usual);
    expect(await cacheOf({ HF_HOME: "", HF_HUB_CACHE: "", XDG_CACHE_HOME: "" })).toBe(usual);
    expect(await cacheOf({ XDG_CACHE_HOME: "/x" })).toBe("/x/huggingface/hub");
    expect(await cacheOf({ HF_HOME: "~/h", XDG_CACHE_HOME: "/x" })).toBe(join(homedir(), "h", "hub"));
    expect(await cacheOf({ HF_HOME: "/h", HF_HUB_CACHE: "/c" })).toBe("/c");
  });

  it("with an empty HF_TOKEN leaves the token to the file; an empty option is none", async () => {
    await writeFile(join(root, "token"), "hf_file\n");
    expect((await readHubSettings({}, { HF_HOME: root, HF_TOKEN: "" })).token).toBe("hf_file");
    expect((await readHubSettings({ token: "" }, { HF_HOME: root, HF_TOKEN: "hf_variable" })).token).toBeUndefined();
  });
});

describe("names of hub files", () => {
  it("never lead out of the folder they are put in", () => {
    const piece = fc.constantFrom("a", "b.c", "d", "..", ".", "", "--", "%2e%2e", "\\", "\0", "a:");
    fc.assert(
      fc.property(fc.array(piece, { minLength: 3, maxLength: 5 }), (pieces) => {
        const name = pieces.join("/");
        fc.pre(isHubName(name));
        expect(join("/cache", name)).toBe(`/cache/${name}`);
        expect(name).not.toMatch(/[\\\0\n:]/);
      }),
    );
  });
});
