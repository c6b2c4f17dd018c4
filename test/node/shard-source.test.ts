// Shards from this machine's files and from a web server on it that fails to order.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../src/core/index.ts";
import type { ShardRange } from "../../src/data/shard-source.ts";
import { webdataset } from "../../src/data/webdataset.ts";
import { findShards, nodeShardSource } from "../../src/node/shard-source.ts";
import { itemsOf, picture } from "../data/memory-shards.ts";
import { tar } from "../files/tar-writer.ts";
import { codeOf } from "../files/value-or-error.ts";

const random = new Random(0);
const CONTENT = Uint8Array.from({ length: 2_500_000 }, () => random.uint32());
const PATIENCE = { stallMs: 400, attempts: 3, backoffMs: 5 };
const source = nodeShardSource(PATIENCE);

async function read(shard: string, range: ShardRange = {}): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source.open(shard, range)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Equality without a diff of millions of bytes. */
const sameBytes = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

const RANGES: ShardRange[] = [
  {},
  { start: 1 },
  { start: 1_000_000, end: 1_000_001 },
  { start: 5, end: 2_200_000 },
  { end: 10 },
  { start: 2_499_999 },
  { start: 2_500_000 },
  { start: 9_000_000 },
  { start: 2_000_000, end: 9_000_000 },
];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "shards-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("local shards", () => {
  test("any part of a file is read, by path and by file: address", async () => {
    const file = join(folder, "content.tar");
    await writeFile(file, CONTENT);
    for (const range of RANGES) {
      const expected = CONTENT.subarray(range.start ?? 0, range.end);
      expect(sameBytes(await read(file, range), expected), JSON.stringify(range)).toBe(true);
      expect(sameBytes(await read(pathToFileURL(file).href, range), expected)).toBe(true);
    }
  });

  test.each([
    ["missing.tar", "FILE_NOT_FOUND"],
    [".", "FILE_READ_FAILED"],
    ["pipe:cat x.tar", "DATA_INVALID"],
    ["s3://bucket/x.tar", "DATA_INVALID"],
    ["file://other-host/x.tar", "DATA_INVALID"],
    ["http://", "DATA_INVALID"],
    ["http://user:secret@127.0.0.1/x.tar", "DATA_INVALID"],
  ])("%s is %s", async (shard, code) => {
    expect(await codeOf(async () => read(shard))).toBe(code);
  });

  test("a signal ends the reading", async () => {
    const file = join(folder, "content.tar");
    await writeFile(file, CONTENT);
    const controller = new AbortController();
    const reading = async () => {
      for await (const _ of source.open(file, { signal: controller.signal })) controller.abort();
    };
    expect(await codeOf(reading)).toBe("ABORTED");
  });

  test("folders, patterns and braces become shards in plain order", async () => {
    const root = join(folder, "lists");
    await mkdir(join(root, "sub"), { recursive: true });
    await mkdir(join(root, "empty"));
    for (const name of ["b.tar", "a.tar", "c[1].tar", "notes.txt", ".hidden.tar", "sub/d.tar"]) {
      await writeFile(join(root, name), "");
    }
    const found = async (list: string) => (await findShards(list)).map(({ shards }) => shards);
    const at = (...names: string[]) => names.map((name) => join(root, name));
    expect(await found(root)).toEqual([at("a.tar", "b.tar", "c[1].tar")]);
    expect(await found(`${root}/*.tar::${root}/sub`)).toEqual([at("a.tar", "b.tar", "c[1].tar"), at("sub/d.tar")]);
    expect(await found(`${root}/**/[a-d].tar`)).toEqual([at("a.tar", "b.tar", "sub/d.tar")]);
    expect(await found(`${root}/c[1].tar`)).toEqual([at("c[1].tar")]);
    expect(await found(`${root}/{x,a}.tar`)).toEqual([at("x.tar", "a.tar")]);
    expect(await found(pathToFileURL(join(root, "a.tar")).href)).toEqual([at("a.tar")]);
    expect(await found("http://h/{0..1}.tar?x[1]=*")).toEqual([["http://h/0.tar?x[1]=*", "http://h/1.tar?x[1]=*"]]);
    expect(await codeOf(() => findShards(`${root}/*.zip`))).toBe("FILE_NOT_FOUND");
    expect(await codeOf(() => findShards(`${root}/empty`))).toBe("DATA_EMPTY");
    expect(await codeOf(() => findShards("pipe:cat"))).toBe("DATA_INVALID");
  });
});

type Answer = (start: number, end: number, response: ServerResponse) => void;

/** As a server should: a range if one is asked for. */
const good: Answer = (start, end, response) => {
  const isPart = start > 0 || end < CONTENT.length;
  if (start >= CONTENT.length) return void response.writeHead(416).end();
  const last = Math.min(end, CONTENT.length);
  const range = { "content-range": `bytes ${start}-${last - 1}/${CONTENT.length}` };
  response.writeHead(isPart ? 206 : 200, { "content-length": last - start, etag: '"one"', ...(isPart && range) });
  response.end(CONTENT.subarray(start, last));
};
/** Breaks the connection after so many bytes. */
const cutAfter =
  (count: number): Answer =>
  (start, _, response) => {
    const range = { "content-range": `bytes ${start}-${CONTENT.length - 1}/${CONTENT.length}` };
    response.writeHead(start > 0 ? 206 : 200, { "content-length": CONTENT.length - start, ...(start > 0 && range) });
    response.write(CONTENT.subarray(start, start + count), () => setTimeout(() => response.destroy(), 20));
  };
const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, __, response) =>
    response.writeHead(code, headers).end();

describe("shards of a web server", () => {
  let server: Server;
  let url: string;
  let answers: Answer[];
  let asked: string[];

  beforeEach(async () => {
    [answers, asked] = [[], []];
    server = createServer((request: IncomingMessage, response) => {
      const [, start = "0", end = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
      asked.push(`${request.url} ${request.headers.range ?? "all"}`);
      (answers.shift() ?? good)(Number(start), end === "" ? CONTENT.length : Number(end) + 1, response);
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a/x.tar`;
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  });

  test("any part is read, from servers with ranges and without", async () => {
    const noRanges: Answer = (_, __, response) => response.writeHead(200).end(CONTENT);
    for (const range of RANGES) {
      const expected = CONTENT.subarray(range.start ?? 0, range.end);
      expect(sameBytes(await read(url, range), expected), JSON.stringify(range)).toBe(true);
      answers = [noRanges];
      expect(sameBytes(await read(url, range), expected), JSON.stringify(range)).toBe(true);
    }
    expect(asked.slice(0, 2)).toEqual(["/a/x.tar all", "/a/x.tar all"]);
    expect(asked[4]).toBe("/a/x.tar bytes=1000000-1000000");
  });

  test("a broken connection is taken up where it broke, with or without ranges", async () => {
    const noRanges: Answer = (_, __, response) => response.writeHead(200).end(CONTENT);
    answers = [cutAfter(300_000), status(503), cutAfter(900_000), noRanges];
    expect(sameBytes(await read(url, { start: 10 }), CONTENT.subarray(10))).toBe(true);
    expect(asked).toEqual([
      "/a/x.tar bytes=10-",
      "/a/x.tar bytes=300010-",
      "/a/x.tar bytes=300010-",
      "/a/x.tar bytes=1200010-",
    ]);
  });

  test("a server that falls silent is asked again; a slow reader is no silence", async () => {
    answers = [
      (_, __, response) => {
        response.writeHead(200, { "content-length": CONTENT.length }).write(CONTENT.subarray(0, 1000));
      },
    ];
    const pieces: Uint8Array[] = [];
    for await (const piece of source.open(url)) {
      if (pieces.length === 2) await new Promise((done) => setTimeout(done, 2 * PATIENCE.stallMs));
      pieces.push(piece);
    }
    expect(sameBytes(Buffer.concat(pieces), CONTENT)).toBe(true);
    expect(asked).toEqual(["/a/x.tar all", "/a/x.tar bytes=1000-"]);
  });

  test("a server that sends hardly a byte at a time is given up", async () => {
    answers = Array.from({ length: 20 }, () => cutAfter(3));
    expect(await codeOf(() => read(url))).toBe("DOWNLOAD_FAILED");
    expect(asked.length).toBe(PATIENCE.attempts);
  });

  test.each([
    [404, "DOWNLOAD_FAILED", 1],
    [403, "DOWNLOAD_FAILED", 1],
    [204, "DOWNLOAD_FAILED", 1],
    [500, "DOWNLOAD_FAILED", 3],
    [429, "DOWNLOAD_FAILED", 3],
  ])("status %i is %s after %i requests, the message without the query", async (code, error, requests) => {
    answers = Array.from({ length: 9 }, () => status(code));
    const message = await read(`${url}?secret=1`).catch(String);
    expect(message).toMatch(new RegExp(`/a/x\\.tar: status ${code} \\[${error}\\]$`));
    expect(message).not.toContain("secret");
    expect(asked.length).toBe(requests);
  });

  test("redirects are followed, but not to other schemes", async () => {
    answers = [status(302, { location: "/elsewhere" })];
    expect(sameBytes(await read(url, { start: 7 }), CONTENT.subarray(7))).toBe(true);
    expect(asked).toEqual(["/a/x.tar bytes=7-", "/elsewhere bytes=7-"]);
    answers = [status(302, { location: "file:///etc/passwd" })];
    expect(await codeOf(() => read(url))).toBe("DOWNLOAD_FAILED");
  });

  test("other bytes than asked for are not taken, nor those of a shard that changed", async () => {
    const wrong: Answer = (_, __, response) =>
      response.writeHead(206, { "content-range": "bytes 99-100/2500000" }).end("xx");
    answers = Array.from({ length: 3 }, () => wrong);
    expect(await codeOf(() => read(url, { start: 9 }))).toBe("DOWNLOAD_FAILED");
    const other: Answer = (start, end, response) => {
      response.setHeader("etag", '"two"');
      cutAfter(10)(start, end, response);
    };
    answers = [other];
    expect(await codeOf(() => read(url))).toBe("FILE_CORRUPT");
  });

  test("a signal ends waiting and reading, and leaving ends the connection", async () => {
    answers = [() => undefined];
    expect(await codeOf(() => read(url, { signal: AbortSignal.timeout(50) }))).toBe("ABORTED");
    let closed: Promise<unknown> | undefined;
    answers = [
      (_, __, response) => {
        closed = new Promise((done) => response.on("close", done));
        response.writeHead(200, { "content-length": 2 * CONTENT.length }).write(CONTENT);
      },
    ];
    for await (const _ of source.open(url)) break;
    await closed;
  });

  test("a data set of local and remote shards reads through faults, and on from any position", async () => {
    const shard = tar(Array.from({ length: 6 }, (_, i) => picture(`${i}`, 900, i)).flat());
    const file = join(folder, "local.tar");
    await writeFile(file, shard);
    const remote: Answer = (start, end, response) => {
      const bytes = shard.subarray(start, end);
      const range = { "content-range": `bytes ${start}-${start + bytes.length - 1}/${shard.length}` };
      response.writeHead(206, { "content-length": bytes.length, ...range }).end(bytes);
    };
    const cut: Answer = (start, _, response) => {
      const range = { "content-range": `bytes ${start}-${shard.length - 1}/${shard.length}` };
      response.writeHead(206, { "content-length": shard.length - start, ...range });
      response.write(shard.subarray(start, start + 2000), () => setTimeout(() => response.destroy(), 20));
    };
    const dataset = webdataset({ shards: await findShards(`${file}::${url}::${url}.missing`), source, bufferSize: 4 });
    const collect = async (from?: { position: { epoch: number } }) => {
      // Which answer goes to which address is known by the order alone: the missing one is told by its name.
      server.removeAllListeners("request");
      let requests = 0;
      server.on("request", (request: IncomingMessage, response: ServerResponse) => {
        const [, start = "0", end = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
        if (request.url!.endsWith(".missing")) return status(404)(0, 0, response);
        (++requests === 1 ? cut : remote)(Number(start), end === "" ? shard.length : Number(end) + 1, response);
      });
      return itemsOf(dataset, { seed: 2, epochs: 1, from: from?.position });
    };
    const keys = (items: Awaited<ReturnType<typeof collect>>) =>
      items.map(({ sample, bad }) => sample?.key ?? bad!.reason);
    const items = await collect();
    const all = [0, 1, 2, 3, 4, 5].flatMap((i) => [`local.tar/${i}`, `x.tar/${i}`]);
    expect(keys(items).sort()).toEqual([...all, "unreadable shard"].sort());
    expect(keys(await collect(items[5]))).toEqual(keys(items).slice(6));
  });
});
