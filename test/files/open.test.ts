import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memorySource } from "../../src/core/index.ts";
import { type Checkpoint, openCheckpoint, writeShardedSafetensors } from "../../src/files/index.ts";
import { MemoryFiles } from "./memory-files.ts";
import { joinBytes } from "./pickle-writer.ts";
import { f32Bytes, tensorOf, torchFile } from "./torch-writer.ts";
import { valueOrError } from "./value-or-error.ts";

const open = (bytes: Uint8Array): Promise<Checkpoint> => openCheckpoint(memorySource(bytes, "file.bin"));

async function safetensors(shardBytes: number): Promise<MemoryFiles> {
  const folder = new MemoryFiles();
  const tensors = ["a", "b"].map((name) => ({ name, dtype: "u8", shape: [8] }) as const);
  const options = { openSink: folder.openSink, fileName: "model.safetensors", shardBytes };
  await writeShardedSafetensors(tensors, async () => new Uint8Array(8), options);
  return folder;
}

describe("openCheckpoint", () => {
  it("tells the formats by their content, whatever the name", async () => {
    const torch = torchFile(new Map([["w", tensorOf({ key: "0", count: 1, shape: [], strides: [] })]]), {
      "0": f32Bytes(1),
    });
    expect((await open(torch)).format).toBe("torch");
    const single = await safetensors(100);
    expect((await open(single.files.get("model.safetensors")!)).format).toBe("safetensors");
    const sharded = await safetensors(8);
    const index = await sharded.openSibling("model.safetensors.index.json");
    expect((await openCheckpoint(index, sharded.openSibling)).tensors.size).toBe(2);
    await expect(openCheckpoint(index)).rejects.toThrow("an index needs the files beside it");
  });

  it("takes a safetensors header whose length reads as a brace or as a zip's mark", async () => {
    const text = '{"__metadata__":{"a":"b"}}'.padEnd(0x7b);
    expect((await open(joinBytes([0x7b, 0, 0, 0, 0, 0, 0, 0], text))).metadata).toEqual({ a: "b" });
  });

  it.each([
    ["", "empty"],
    ["hello", "neither safetensors nor a PyTorch checkpoint"],
    ["\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch before 1.6: load it and save it again"],
    [`${"x".repeat(257)}ustar${"x".repeat(300)}`, "PyTorch before 1.6"],
    ["version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"],
    ["<!DOCTYPE html><html>", "a web page"],
  ])("says what else a file is: %j", async (text, message) => {
    await expect(open(joinBytes(text))).rejects.toThrow(message);
    await expect(open(joinBytes(text))).rejects.toThrow("FILE_UNSUPPORTED");
  });

  it("gives a value or a ToklipError for any bytes", async () => {
    const start = fc.constantFrom("", "PK\x03\x04", "{", "\x80\x02", "\x02\0\0\0\0\0\0\0{}", '{"weight_map":');
    await fc.assert(
      fc.asyncProperty(start, fc.uint8Array({ maxLength: 100 }), async (head, bytes) => {
        await valueOrError(() => open(joinBytes(head, bytes)));
      }),
      { numRuns: 500 },
    );
  });
});
