import { describe, expect, it } from "vitest";
import { type NDArray, ndarray, ToklipError } from "../../src/core/index.ts";
import { readCheckpoint, writeCheckpoint } from "../../src/train/checkpoint.ts";
import { CheckpointStore } from "../../src/train/checkpoint-store.ts";
import { codeOf } from "../files/value-or-error.ts";
import { fillUp, MemoryStorage } from "./memory-storage.ts";

const content = (step: number, best: { step: number; value: number } | null = null) => ({
  run: {
    step,
    seconds: step / 3,
    best,
    configHash: "0badcafe",
    processes: [{ position: { epoch: 1, shard: "a.tar", at: [1, 2] }, trainer: { words: [1, 2, 3, 4], spare: -0.1 } }],
  },
  files: {
    model: new Map<string, NDArray>([["a.weight", ndarray("f32", [2, 2], Float32Array.of(1, Number.NaN, -0, step))]]),
    "optimizer-2": new Map<string, NDArray>([
      ["count", ndarray("i64", [], BigInt64Array.of(9007199254740993n))],
      ["moments", ndarray("bf16", [3], Uint16Array.of(1, 2, 65535))],
    ]),
    ema: new Map<string, NDArray>(),
  },
});

const MODEL = "checkpoints/step-00000006/model.safetensors";

async function threeSaved(): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  const store = await CheckpointStore.open(storage);
  for (const step of [2, 4, 6]) await store.save(content(step), 3);
  return storage;
}

describe("a checkpoint", () => {
  it("is read as it was written, to the bit", async () => {
    const storage = new MemoryStorage();
    const folder = await writeCheckpoint(storage, content(12));
    expect(folder).toBe("checkpoints/step-00000012");
    const { run, files } = await readCheckpoint(storage, folder);
    expect(run).toEqual(content(12).run);
    expect(files).toEqual(content(12).files);
    expect([...storage.files.keys()].at(-1)).toBe("checkpoints/step-00000012/manifest.json");
  });

  it("is skipped and reported when it was not finished, and its folder removed by clean()", async () => {
    const storage = await threeSaved();
    storage.files.delete("checkpoints/step-00000006/manifest.json");
    const store = await CheckpointStore.open(storage);
    expect((await store.latest())?.step).toBe(4);
    expect(store.skipped).toEqual([{ path: "run/checkpoints/step-00000006", reason: "was not finished" }]);
    await store.clean();
    expect(await storage.list("checkpoints")).toEqual(["step-00000002", "step-00000004"]);
  });

  it("is skipped and reported when a file is missing, shorter, or has one other bit", async () => {
    const damages: [(storage: MemoryStorage) => void, RegExp][] = [
      [(s) => s.files.delete(MODEL), /does not exist/],
      [(s) => s.files.set(MODEL, s.files.get(MODEL)!.slice(1)), /has \d+ bytes, \d+ were written/],
      [(s) => flip(s, MODEL), /has checksum [0-9a-f]{8}, expected [0-9a-f]{8}/],
      [(s) => flip(s, "checkpoints/step-00000006/run.json"), /has checksum/],
      [(s) => s.files.set("checkpoints/step-00000006/manifest.json", new Uint8Array(9)), /manifest\.json/],
    ];
    for (const [damage, reason] of damages) {
      const storage = await threeSaved();
      damage(storage);
      const store = await CheckpointStore.open(storage);
      expect((await store.latest())?.step).toBe(4);
      expect(store.skipped).toHaveLength(1);
      expect(store.skipped[0]!.reason).toMatch(reason);
      await store.clean();
      expect(await storage.list("checkpoints"), "a damaged one is left for its owner").toHaveLength(3);
      await store.save(content(6), 3);
      expect((await (await CheckpointStore.open(storage)).latest())?.step).toBe(6);
    }
  });

  it("is an error when all of them are damaged, and none when the first was not finished", async () => {
    const storage = new MemoryStorage();
    const store = await CheckpointStore.open(storage);
    await store.save(content(6), 1);
    flip(storage, MODEL);
    const damaged = await CheckpointStore.open(storage);
    await expect(damaged.latest()).rejects.toThrow(/no checkpoint that can be used.*FILE_CORRUPT/);
    storage.files.delete("checkpoints/step-00000006/manifest.json");
    expect(await (await CheckpointStore.open(storage)).latest()).toBeUndefined();
  });

  it("keeps the last few and the best", async () => {
    const storage = new MemoryStorage();
    const store = await CheckpointStore.open(storage);
    for (const step of [2, 4, 6, 8, 10]) await store.save(content(step, step < 4 ? null : { step: 4, value: 1 }), 2);
    expect(await storage.list("checkpoints")).toEqual(["step-00000004", "step-00000008", "step-00000010"]);
    const later = await CheckpointStore.open(storage);
    await later.save(content(12, { step: 12, value: 0 }), 1);
    expect(await storage.list("checkpoints")).toEqual(["step-00000012"]);
  });

  it("that finds the disk full at any byte leaves those before it whole", async () => {
    const whole = await threeSaved();
    const bytes = [...whole.files].filter(([path]) => path.includes("06/")).reduce((sum, [, b]) => sum + b.length, 0);
    for (let room = 0; room < bytes; room += 7) {
      const storage = await threeSaved();
      const store = await CheckpointStore.open(storage);
      fillUp(storage, room);
      expect(await codeOf(() => store.save(content(8), 2))).toBe("FILE_WRITE_FAILED");
      const after = await CheckpointStore.open(storage);
      expect((await after.latest())?.step).toBe(6);
      expect(after.skipped).toEqual([]);
      expect([...storage.files.keys()].filter((path) => path.includes("08"))).toEqual([]);
    }
  });

  it("refuses names that could leave its folder, and states that JSON would change", async () => {
    const storage = new MemoryStorage();
    const { run, files } = content(2);
    expect(await codeOf(() => writeCheckpoint(storage, { run, files: { "../x": new Map() } }))).toBe(
      "ARGUMENT_INVALID",
    );
    const lost = { ...run, seconds: Number.NaN };
    expect(await codeOf(() => writeCheckpoint(storage, { run: lost, files }))).toBe("ARGUMENT_INVALID");
    expect(storage.files.size).toBe(0);
  });

  it("with a manifest of anything is a checkpoint or skipped, never another exception", async () => {
    const manifests = ["[]", "null", "{}", `{"format":1,"step":6,"files":{"../../x":{"bytes":1,"crc32c":""}}}`];
    for (const text of [
      ...manifests,
      "[".repeat(100_000),
      `{"format":2,"step":6,"files":{}}`,
      `{"format":1,"step":6,"files":{}}`,
    ]) {
      const storage = await threeSaved();
      storage.files.set("checkpoints/step-00000006/manifest.json", new TextEncoder().encode(text));
      const store = await CheckpointStore.open(storage);
      expect((await store.latest())?.step).toBe(4);
    }
    const moved = new MemoryStorage(); // a folder that was renamed
    const held = [...(await threeSaved()).files].filter(([path]) => path.includes("06/"));
    for (const [path, bytes] of held) moved.files.set(path.replace("06/", "09/"), bytes);
    expect((await CheckpointStore.open(moved)).skipped[0]!.reason).toMatch(/is of step 6/);
  });

  it("whose run.json is no state of a run is FILE_CORRUPT", async () => {
    const storage = await threeSaved();
    storage.files.set("checkpoints/step-00000006/run.json", new TextEncoder().encode(`{"format":1,"step":-1}`));
    const read = readCheckpoint(storage, "checkpoints/step-00000006");
    await expect(read).rejects.toThrow(ToklipError);
    await expect(read).rejects.toThrow(/run\.json: step: .*FILE_CORRUPT/);
  });
});

function flip(storage: MemoryStorage, path: string): void {
  const bytes = storage.files.get(path)!.slice();
  bytes[bytes.length - 1]! ^= 1;
  storage.files.set(path, bytes);
}
