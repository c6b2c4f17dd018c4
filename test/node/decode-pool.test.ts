// Decoding in worker threads: the same pixels as in one's own thread, in any number of them.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ToklipError } from "../../src/core/index.ts";
import type { DecodeSpec } from "../../src/data/decode.ts";
import { indexedDataset } from "../../src/data/indexed-dataset.ts";
import { loadBatches } from "../../src/data/loader.ts";
import { preprocessImage, toPixels } from "../../src/image/index.ts";
import { createDecodePool, type DecodePool, type DecodePoolOptions } from "../../src/node/decode-pool.ts";
import { decodeImage } from "../../src/node/image.ts";
import { type Transpiled, transpile } from "../cli/transpile.ts";
import { take } from "../data/made-up-data.ts";

const PICTURES = ["chelsea.jpg", "flower.jpg", "camera.png", "coffee.jpg"];
const FILES = PICTURES.map((name) => readFileSync(new URL(`../pictures/${name}`, import.meta.url)));

const AUGMENTATION = { flip: 0.5, colorJitter: { brightness: 0.4, hue: 0.1 }, grayscale: 0.2 };
const specOf = (key: string, seed: number): DecodeSpec => ({ key, seed, imageSize: 32, augmentation: AUGMENTATION });

// Threads start from JavaScript: Node 20 cannot start them from the sources.
let built: Transpiled;
let createPool: typeof createDecodePool;
beforeAll(async () => {
  built = await transpile([]);
  ({ createDecodePool: createPool } = await import(`${built.folder}/src/node/decode-pool.js`));
});
afterAll(() => built.remove());

const pools: DecodePool[] = [];
function open(options: DecodePoolOptions): DecodePool {
  const pool = createPool(options);
  pools.push(pool);
  return pool;
}
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.dispose()));
});

async function failure(act: Promise<unknown>): Promise<ToklipError> {
  const error = await act.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toHaveProperty("name", "ToklipError");
  return error as ToklipError;
}

describe.each([0, 1, 2])("%i workers", (workers) => {
  test("give the pixels of each picture at its place, however many are asked for at once", async () => {
    const [pool, own] = [open({ workers }), createDecodePool({ workers: 0 })];
    const seeds = Array.from({ length: 24 }, (_, seed) => seed);
    const make = ({ decode }: DecodePool) => seeds.map((seed) => decode(FILES[seed % 4]!, specOf(`p${seed}`, seed)));
    const [got, expected] = await Promise.all([Promise.all(make(pool)), Promise.all(make(own))]);
    expect(got).toEqual(expected);
    expect(got[0]!.shape).toEqual([3, 32, 32]);
    expect(new Set(got.map(({ data }) => data.join())).size).toBe(24);
  });

  test("give what preprocessing gives where nothing is random", async () => {
    const spec = { ...specOf("p", 1), augmentation: { crop: { kind: "shortest" } } } as const;
    const { data } = await open({ workers }).decode(FILES[0]!, spec);
    expect(data).toEqual(toPixels([preprocessImage(await decodeImage(FILES[0]!), { size: 32 })]).data);
  });

  test("say what is wrong with a picture, and go on", async () => {
    const pool = open({ workers, maxPixels: 200_000 });
    const results = [Uint8Array.of(1, 2, 3), FILES[0]!.subarray(0, 9000), FILES[3]!, FILES[0]!].map((bytes) =>
      pool.decode(bytes, specOf("p", 1)),
    );
    const codes = await Promise.all(results.slice(0, 3).map(async (result) => (await failure(result)).code));
    expect(codes).toEqual(["IMAGE_UNREADABLE", "IMAGE_UNREADABLE", "IMAGE_TOO_LARGE"]);
    expect((await results[3]!).data.length).toBe(3072);
  });

  test("leave the bytes that they were given as they were", async () => {
    const shard = new Uint8Array(FILES[0]!.length + 100);
    shard.set(FILES[0]!, 50);
    const view = shard.subarray(50, shard.length - 50);
    await open({ workers }).decode(view, specOf("p", 1));
    expect(Buffer.compare(view, FILES[0]!)).toBe(0);
  });

  test("stop on an abort, and refuse when disposed of", async () => {
    const pool = open({ workers });
    const controller = new AbortController();
    const results = Array.from({ length: 12 }, () => pool.decode(FILES[1]!, specOf("p", 1), controller.signal));
    const codes = Promise.all(results.map(async (result) => (await failure(result)).code));
    controller.abort();
    expect(new Set(await codes)).toEqual(new Set(["ABORTED"]));
    expect((await pool.decode(FILES[0]!, specOf("p", 1))).data.length).toBe(3072);
    await pool.dispose();
    expect((await failure(pool.decode(FILES[0]!, specOf("p", 1)))).code).toBe("DISPOSED");
  });
});

test("what waits is refused when the pool is disposed of", async () => {
  const pool = open({ workers: 1 });
  const results = Array.from({ length: 9 }, () => failure(pool.decode(FILES[1]!, specOf("p", 1))));
  await pool.dispose();
  expect(new Set((await Promise.all(results)).map(({ code }) => code))).toEqual(new Set(["DISPOSED"]));
});

describe("a worker that dies", () => {
  /** Makes each worker do this instead of decoding the picture "bad". */
  const insteadOfBad = (act: string) => {
    const code = `import { parentPort } from "node:worker_threads";
      const on = parentPort.on.bind(parentPort);
      parentPort.on = (name, listen) => on(name, (m) => (m?.spec?.key === "bad" ? (${act})() : listen(m)));`;
    return ["--import", `data:text/javascript,${encodeURIComponent(code)}`];
  };

  test.each([
    ["by leaving", "() => process.exit(3)", "it ended with 3"],
    ["by throwing", '() => { throw new Error("boom"); }', "boom"],
  ])("%s fails all that wait, names what it had, and hangs nothing", async (_, act, reason) => {
    const pool = open({ workers: 2, execArgv: insteadOfBad(act) });
    await pool.decode(FILES[0]!, specOf("good", 1));
    const bad = failure(pool.decode(FILES[0]!, specOf("bad", 1)));
    const others = Array.from({ length: 20 }, () =>
      pool.decode(FILES[1]!, specOf("other", 1)).catch((error) => error.code),
    );
    expect((await bad).code).toBe("RUNTIME_FAILED");
    expect((await bad).message).toMatch(/a decoding thread died while it had bad/);
    expect((await bad).message).toContain(reason);
    expect((await Promise.all(others)).at(-1)).toBe("RUNTIME_FAILED");
    expect((await failure(pool.decode(FILES[0]!, specOf("later", 1)))).code).toBe("RUNTIME_FAILED");
  });
});

test("batches are the same bit for bit with any number of workers", async () => {
  const entry = async (index: number) => ({
    sample: { key: `p${index}`, captions: [], image: async () => FILES[index % 4]! },
  });
  const dataset = indexedDataset({ name: "pictures", size: 12, entry });
  const batchesOf = (workers: number) => {
    const { decode } = open({ workers });
    return take(loadBatches(dataset, { batchSize: 5, imageSize: 32, seed: 3, augmentation: AUGMENTATION, decode }), 4);
  };
  const [none, two] = await Promise.all([batchesOf(0), batchesOf(2)]);
  expect(two).toEqual(none);
});

test.each(["await pool.dispose();", ""])(
  "a process lives as long as its pictures need and no longer, with '%s'",
  (dispose) => {
    const script = `
    const { createDecodePool } = await import("${built.folder}/src/node/decode-pool.js");
    const { readFileSync } = await import("node:fs");
    const bytes = readFileSync("test/pictures/chelsea.jpg");
    const spec = { key: "p", seed: 1, imageSize: 32, augmentation: {} };
    for (let i = 0; i < 3; i++) {
      const pool = createDecodePool({ workers: 3 });
      await Promise.all(Array.from({ length: 9 }, () => pool.decode(bytes, spec)));
      ${dispose}
    }
    console.log("done");`;
    const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    expect([stdout, status]).toEqual(["done\n", 0]);
  },
);

test("without a number, pictures are decoded from the sources too", async () => {
  const pool = createDecodePool();
  expect((await pool.decode(FILES[0]!, specOf("p", 1))).shape).toEqual([3, 32, 32]);
  await pool.dispose();
});

test("a number of workers that is none is refused", () => {
  expect(() => createDecodePool({ workers: -1 })).toThrow("workers must be a whole number from 0, got -1");
});
