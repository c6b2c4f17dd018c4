// Downloads from a hub that runs on this machine.
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Random } from "../../src/core/index.ts";
import { type HubFileOptions, isHubName, resolveHubFile } from "../../src/node/hub.ts";
import { readHubSettings } from "../../src/node/hub-settings.ts";
import { withLock } from "../../src/node/lock-file.ts";
import { COMMIT, FakeHub, NAME } from "./fake-hub.ts";

const SIZE = 3_000_000;
const random = new Random(7);
const CONTENT = Buffer.from(Uint8Array.from({ length: SIZE }, () => random.uint32()));

let hub: FakeHub;
let cacheDir: string;

beforeEach(async () => {
  hub = await FakeHub.start(CONTENT);
  cacheDir = mkdtempSync(join(tmpdir(), "toklip-hub-"));
  for (const name of ["HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"]) vi.stubEnv(name, undefined);
  vi.stubEnv("HF_HOME", cacheDir);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  rmSync(cacheDir, { recursive: true, force: true });
});

function get(options: HubFileOptions = {}, name = NAME): Promise<string> {
  const patience = { backoffMs: 5, attempts: 3, stallMs: 2000 };
  return resolveHubFile(name, { endpoint: hub.endpoint, cacheDir, download: true, patience, ...options });
}

const blobs = () => join(cacheDir, "models--owner--repo", "blobs");
const blob = () => join(blobs(), hub.etag);
const partial = () => `${blob()}.incomplete`;
const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

async function leavePartial(bytes: Uint8Array): Promise<void> {
  await mkdir(blobs(), { recursive: true });
  writeFileSync(partial(), bytes);
}

describe("a download", () => {
  it("lands in the cache as Python's huggingface_hub lays it out", async () => {
    const path = await get();
    expect(path).toBe(join(cacheDir, "models--owner--repo", "snapshots", COMMIT, "models", "big.pt"));
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(readlinkSync(path)).toBe(`../../../blobs/${hub.etag}`);
    expect(readFileSync(join(cacheDir, "models--owner--repo", "refs", "main"), "utf8")).toBe(COMMIT);
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
    expect(readdirSync(blobs())).toEqual([hub.etag]);
  });

  it("reports bytes from the first to the last", async () => {
    const events: { done: number; total?: number }[] = [];
    await get({ onProgress: (event) => events.push(event) });
    expect(events.at(-1)).toEqual({ stage: "download", item: NAME, done: SIZE, total: SIZE, unit: "bytes" });
    expect(events.map(({ done }) => done)).toEqual(events.map(({ done }) => done).sort((a, b) => a - b));
  });

  it("is made once: the second call sends no request, offline too", async () => {
    const path = await get();
    const { length } = hub.seen;
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await get()).toBe(path);
    expect(await get({ download: false })).toBe(path);
    expect(await get({ revision: COMMIT })).toBe(path);
    expect(hub.seen).toHaveLength(length);
  });

  it("of another revision with the same content moves no bytes", async () => {
    await get();
    await get({ revision: "v1" });
    expect(hub.log.filter((line) => line.startsWith("cdn"))).toEqual(["cdn GET"]);
    expect(readFileSync(join(cacheDir, "models--owner--repo", "refs", "v1"), "utf8")).toBe(COMMIT);
  });

  it("goes on where the connection broke", async () => {
    hub.cdnFaults.push({ cutAt: 1_000_000 }, { status: 503 }, { cutAt: 2_500_000 });
    expect(readFileSync(await get()).equals(CONTENT)).toBe(true);
    const ranges = hub.seen.filter(({ host }) => host === "cdn").map(({ range }) => range);
    expect(ranges).toEqual([undefined, "bytes=1000000-", "bytes=1000000-", "bytes=2500000-"]);
  });

  it("goes on where an earlier run stopped", async () => {
    await leavePartial(CONTENT.subarray(0, 1234));
    const events: number[] = [];
    const path = await get({ onProgress: ({ done }) => events.push(done) });
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
    expect(hub.log).toEqual(["hub HEAD", "hub GET bytes=1234-", "cdn GET bytes=1234-"]);
    expect(events[0]).toBe(1234);
  });

  it("asks for nothing more when an earlier run has all bytes", async () => {
    await leavePartial(CONTENT);
    await get();
    expect(hub.log).toEqual(["hub HEAD"]);
  });

  it("begins anew when the server cannot resume, or when the partial file is too long", async () => {
    await leavePartial(CONTENT.subarray(0, 1234));
    hub.cdnFaults.push({ ignoreRange: true });
    expect(readFileSync(await get()).equals(CONTENT)).toBe(true);
    rmSync(join(cacheDir, "models--owner--repo"), { recursive: true });
    await leavePartial(Buffer.concat([CONTENT, Buffer.from("x")]));
    expect(readFileSync(await get()).equals(CONTENT)).toBe(true);
  });

  it("with a wrong hash is refused and removed, and the next one succeeds", async () => {
    const wrong = Buffer.from(CONTENT);
    wrong[5]! ^= 1;
    hub.content = wrong;
    await expect(get()).rejects.toEqual(failure("CHECKSUM_MISMATCH", /^owner\/repo\/models\/big\.pt: its SHA-256/));
    expect(readdirSync(blobs())).toEqual([]);
    hub.content = CONTENT;
    expect(readFileSync(await get()).equals(CONTENT)).toBe(true);
  });

  it("that continues a damaged partial file is refused and removed", async () => {
    await leavePartial(Buffer.alloc(1000));
    await expect(get()).rejects.toEqual(failure("CHECKSUM_MISMATCH", /SHA-256/));
    expect(existsSync(partial())).toBe(false);
  });

  it("stops when its signal fires, and the partial file stays for the next", async () => {
    hub.cdnFaults.push({ cutAt: 1_000_000 }, "hang");
    const controller = new AbortController();
    const pending = get({ signal: controller.signal });
    await vi.waitFor(() => expect(hub.cdnFaults).toHaveLength(0));
    controller.abort();
    await expect(pending).rejects.toEqual(failure("ABORTED", /./));
    expect(statSync(partial()).size).toBe(1_000_000);
    expect(readFileSync(await get()).equals(CONTENT)).toBe(true);
    expect(hub.log.at(-1)).toBe("cdn GET bytes=1000000-");
  });

  it("is not begun when its signal has fired", async () => {
    await expect(get({ signal: AbortSignal.abort() })).rejects.toEqual(failure("ABORTED", /./));
    expect(hub.seen).toEqual([]);
  });

  it("asked for twice at once is made once", async () => {
    const [first, second] = await Promise.all([get(), get()]);
    expect(first).toBe(second);
    expect(hub.log.filter((line) => line.startsWith("cdn"))).toHaveLength(1);
  });

  it("gives up after failures in a row, and a dead connection counts as one", async () => {
    hub.cdnFaults.push({ status: 500 }, "hang", { status: 502 });
    const patience = { backoffMs: 5, attempts: 3, stallMs: 100 };
    await expect(get({ patience })).rejects.toEqual(failure("DOWNLOAD_FAILED", /status 502/));
    expect(hub.cdnFaults).toEqual([]);
  });

  it("bears with a hub in trouble", async () => {
    hub.hubFaults.push({ status: 503 }, { status: 429 });
    expect(readFileSync(await get()).equals(CONTENT)).toBe(true);
  });
});

describe("what the hub refuses", () => {
  it.each([
    [401, /wants an access token \(status 401\): set HF_TOKEN/],
    [403, /wants an access token \(status 403\): set HF_TOKEN/],
    [404, /has no repository owner\/repo, or no file models\/big\.pt in its revision main/],
  ])("with status %i is said once, in words", async (status, message) => {
    hub.hubFaults.push({ status });
    await expect(get()).rejects.toEqual(failure("DOWNLOAD_FAILED", message));
    expect(hub.seen).toHaveLength(1);
  });

  it("names neither the token nor a signed address", async () => {
    hub.cdnFaults.push({ status: 400 });
    const error: Error = await get({ token: "hf_secret" }).then(
      () => expect.unreachable(),
      (thrown) => thrown,
    );
    expect(error.message).toMatch(/status 400/);
    expect(error.message).not.toMatch(/secret/);
  });
});

describe("the access token", () => {
  it("goes to the hub alone", async () => {
    await get({ token: "hf_abc" });
    expect(new Set(hub.seen.map(({ host, token }) => `${host} ${token}`))).toEqual(
      new Set(["hub Bearer hf_abc", "cdn undefined"]),
    );
  });

  it("is read from HF_TOKEN, then from the file that logging in writes", async () => {
    writeFileSync(join(cacheDir, "token"), "hf_file\n");
    expect((await readHubSettings({})).token).toBe("hf_file");
    vi.stubEnv("HF_TOKEN", "hf_env");
    expect((await readHubSettings({})).token).toBe("hf_env");
    expect((await readHubSettings({ token: "hf_option" })).token).toBe("hf_option");
    await expect(readHubSettings({ token: "a\nb" })).rejects.toEqual(failure("ARGUMENT_INVALID", /hub token/));
  });
});

describe("without a download", () => {
  it("a file that is not cached is refused with the command that fetches it", async () => {
    await expect(get({ download: false })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[ToklipError: owner/repo/models/big.pt: not in the cache; fetch it with: toklip download owner/repo/models/big.pt [FILE_NOT_FOUND]]`,
    );
    expect(hub.seen).toEqual([]);
  });

  it("offline mode sends no request", async () => {
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(get()).rejects.toEqual(failure("OFFLINE", /HF_HUB_OFFLINE/));
    expect(hub.seen).toEqual([]);
  });
});

describe("a hub name", () => {
  it.each(["owner/repo/file.pt", "a/b/c/d.safetensors", "Owner-1/re.po_2/x y.pt"])("can be %j", (name) => {
    expect(isHubName(name)).toBe(true);
  });

  it.each([
    "owner/repo",
    "/a/b/c",
    "./a/b/c",
    "../a/b/c",
    "a/../b/c",
    "a/b/../../c",
    "a/b//c",
    "a/b/c/",
    "a/b/.",
    "a--b/c/d",
    "a/b/c\\..\\d",
    "a/b/c:d",
    "a/b/c\0",
    "https://host/a/b",
    "",
  ])("cannot be %j, and nothing is asked or written for it", async (name) => {
    expect(isHubName(name)).toBe(false);
    await expect(get({}, name)).rejects.toEqual(failure("ARGUMENT_INVALID", /hub name/));
    expect(hub.seen).toEqual([]);
    expect(readdirSync(cacheDir)).toEqual([]);
  });

  it.each(["../main", "a/../b", "/x", "", "a b"])("refuses the revision %j", async (revision) => {
    await expect(get({ revision })).rejects.toEqual(failure("ARGUMENT_INVALID", /revision/));
  });

  it("an etag that would leave the cache is refused", async () => {
    hub.etag = "../../../escape";
    await expect(get()).rejects.toEqual(failure("DOWNLOAD_FAILED", /does not answer as a model hub/));
    expect(readdirSync(cacheDir)).toEqual([]);
  });
});

describe("a lock file", () => {
  it("lets one at a time work, and leaves nothing behind", async () => {
    let inside = 0;
    const path = join(cacheDir, "lock");
    const work = async () => {
      inside++;
      expect(inside).toBe(1);
      await new Promise((done) => setTimeout(done, 10));
      inside--;
    };
    await Promise.all([1, 2, 3].map(() => withLock(path, undefined, work)));
    expect(readdirSync(cacheDir)).toEqual([]);
  });

  it("of a process that is gone is taken over", async () => {
    const path = join(cacheDir, "lock");
    const { hostname } = await import("node:os");
    writeFileSync(path, JSON.stringify({ pid: 2 ** 30, host: hostname(), id: "x" }));
    expect(await withLock(path, undefined, async () => 5)).toBe(5);
  });

  it("tells its holder when it was taken away", async () => {
    const path = join(cacheDir, "lock");
    const stolen = withLock(path, undefined, async ({ confirm }) => {
      writeFileSync(path, "another");
      await confirm();
    });
    await expect(stolen).rejects.toEqual(failure("DOWNLOAD_FAILED", /taken over/));
    expect(readFileSync(path, "utf8")).toBe("another");
  });
});
