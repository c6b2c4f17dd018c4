// The public class on the tiny checkpoint: every call against the reference, and every misuse.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { concatRows, type NDArray, ndarray, normalizeRows, type ProgressEvent, rows } from "../../src/core/index.ts";
import { convertFile, exportOnnx, initCheckpoint, TokLIP } from "../../src/node/index.ts";
import { LABEL_SETS } from "../../src/pipelines/label-sets.ts";
import { goldenPath, goldenTensors, maxDifference } from "../goldens.ts";

const tiny = goldenPath("tiny/tiny.pt");
const pictures = new URL("../pictures/", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "toklip-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}

describe("TokLIP", async () => {
  const golden = await goldenTensors("tiny/golden.safetensors");
  const pixels = (await golden("input")) as NDArray<"f32">;
  const codes = (await golden("vq.codes")).data as Int32Array<ArrayBuffer>;
  const ids = ndarray("i32", [4, 4, 4], codes);
  let model: TokLIP;
  const events: ProgressEvent[] = [];
  beforeAll(async () => {
    model = await TokLIP.load(tiny, { onProgress: (event) => events.push(event) });
  });
  afterAll(() => model.dispose());

  test("prepares pictures as its configuration says, unless it is told otherwise", async () => {
    const json = { ...model.config.source, preprocess_cfg: { resize_mode: "squash", background: [255, 0, 0] } };
    const squashing = await TokLIP.load(tiny, { config: json });
    const picture = join(pictures, "rocket.jpg");
    const { data } = await squashing.preprocess(picture);
    expect(data).toEqual((await model.preprocess(picture, { resize: "squash" })).data);
    expect((await squashing.preprocess(picture, { resize: "shortest" })).data).toEqual(
      (await model.preprocess(picture)).data,
    );
    expect(data).not.toEqual((await model.preprocess(picture)).data);
    const clear = { width: 1, height: 1, mode: "RGBA", data: Uint8Array.of(9, 9, 9, 0) } as const;
    const shown = (await squashing.preprocess(clear)).data;
    expect([shown[0], shown.at(-1)]).toEqual([1, -1]);
    await squashing.dispose();
  });

  test("finds its configuration beside the checkpoint", () => {
    expect(model.config.name).toBe("tiny");
    expect(model.config.trunk.imageSize).toBe(64);
  });

  test("reads nothing but the VQ for ids", async () => {
    const encoded = await model.encodeIds(pixels);
    expect(encoded.shape).toEqual([4, 4, 4]);
    expect(encoded.dtype).toBe("i32");
    expect(Array.from(encoded.data)).toEqual(Array.from(codes));
    expect(new Set(events.map(({ item }) => item))).toEqual(new Set(["vq_encoder"]));
  });

  test("encodes pictures, ids and texts as the reference does", async () => {
    const image = await model.encodeImage(pixels);
    expect(Array.from(image.ids.data)).toEqual(Array.from(codes));
    const fromIds = await model.encodeFeatures(ndarray("i32", [4, 16], codes));
    expect(maxDifference(image.imageFeatures.data, fromIds.imageFeatures.data)).toBe(0);
    expect(image.tokenFeatures.shape).toEqual([4, 16, 64]);
    const normal = normalizeRows(image.imageFeatures);
    expect(maxDifference(normal.data, (await golden("image_features_norm")).data as Float32Array)).toBeLessThan(1e-5);
    const text = normalizeRows(await model.encodeTextIds((await golden("text_ids")) as NDArray<"i32">));
    expect(maxDifference(text.data, (await golden("text_features_norm")).data as Float32Array)).toBeLessThan(1e-5);
  });

  test("gives a large batch the results of its pictures", async () => {
    // 16 tokens a picture and 256 a run: 20 pictures take two runs.
    const five = Array.from({ length: 5 }, () => pixels);
    const [large, small] = [await model.encodeImage(concatRows(five)), await model.encodeImage(pixels)];
    expect(large.imageFeatures.shape).toEqual([20, 64]);
    for (let i = 0; i < 5; i++) {
      expect(Array.from(rows(large.ids, 4 * i, 4 * i + 4).data)).toEqual(Array.from(codes));
      expect(maxDifference(rows(large.imageFeatures, 4 * i, 4 * i + 4).data, small.imageFeatures.data)).toBeLessThan(
        1e-5,
      );
    }
  });

  test("decodes ids to the reference's pixels", async () => {
    const decoded = await model.decodeIds(ids);
    expect(decoded.shape).toEqual([4, 3, 64, 64]);
    // Ten times the goldens' own rounding, 3e-5, on values up to 5.
    expect(maxDifference(decoded.data, (await golden("vq.recon_from_codes")).data as Float32Array)).toBeLessThan(3e-4);
  });

  test("preprocesses, embeds text and classifies real pictures", async () => {
    const files = ["chelsea.jpg", "rocket.jpg"].map((name) => pictures + name);
    const batch = await model.preprocess(files);
    expect(batch.shape).toEqual([2, 3, 64, 64]);
    expect(batch.data.every((value) => value >= -1 && value <= 1)).toBe(true);
    expect((await model.encodeText("a cat")).shape).toEqual([1, 64]);
    const scores = await model.classify(files, { labels: ["a cat", "a dog", "a rocket"] });
    expect(scores).toHaveLength(2);
    for (const row of scores) {
      expect(row.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 6);
      expect(row.map(({ score }) => score)).toEqual(row.map(({ score }) => score).toSorted((a, b) => b - a));
    }
  });

  test("classifies among the labels of a named set", async () => {
    const [scores] = await model.classify(`${pictures}chelsea.jpg`, { labels: "animals" });
    expect(scores!.map(({ label }) => label).toSorted()).toEqual(LABEL_SETS.animals.toSorted());
    await expect(model.classify(`${pictures}chelsea.jpg`, { labels: "pets" as "animals" })).rejects.toMatchObject({
      code: "ARGUMENT_INVALID",
    });
  });

  test("encodes a label set once", async () => {
    let texts = 0;
    const counting = Object.create(model) as TokLIP;
    counting.encodeText = (...args) => {
      texts++;
      return model.encodeText(...args);
    };
    for (let i = 0; i < 3; i++) await counting.classify(`${pictures}chelsea.jpg`, { labels: ["one", "two"] });
    expect(texts).toBe(1);
  });

  test.each(["int8", "int8-fast"] as const)("in %s keeps the ids and nearly the features", async (precision) => {
    const small = await TokLIP.load(tiny, { precision });
    const [exact, rounded] = [await model.encodeImage(pixels), await small.encodeImage(pixels)];
    expect(Array.from(rounded.ids.data)).toEqual(Array.from(exact.ids.data));
    expect(maxDifference(rounded.imageFeatures.data, exact.imageFeatures.data)).toBeGreaterThan(0);
    expect(cosine(rounded.imageFeatures.data, exact.imageFeatures.data)).toBeGreaterThan(0.99);
    const [textExact, textRounded] = [await model.encodeText("a cat"), await small.encodeText("a cat")];
    expect(cosine(textRounded.data, textExact.data)).toBeGreaterThan(0.99);
    await small.dispose();
  });

  const misuses: Record<string, () => Promise<unknown>> = {
    IDS_OUT_OF_RANGE: () => model.encodeFeatures(ndarray("i32", [1, 4, 4], new Int32Array(16).fill(512))),
    IDS_GRID_MISMATCH: () => model.decodeIds(ndarray("i32", [1, 3, 4])),
    SHAPE_MISMATCH: () => model.encodeIds(ndarray("f32", [1, 3, 32, 32])),
    ARGUMENT_INVALID: () => model.preprocess([]),
    IMAGE_UNREADABLE: () => model.preprocess(new Uint8Array([1, 2, 3])),
    FILE_NOT_FOUND: () => model.preprocess("no-such-picture.png"),
    ABORTED: () => model.encodeIds(pixels, { signal: AbortSignal.abort() }),
    CONFIG_UNKNOWN: () => TokLIP.load(tiny, { config: "no-such-config" }),
    CHECKPOINT_MISMATCH: () => TokLIP.load(tiny, { config: "ViT-SO400M-16-SigLIP2-256-toklip" }),
    FILE_UNSUPPORTED: () => TokLIP.load(`${pictures}chelsea.jpg`),
    TOKENIZER_INVALID: async () => {
      const wordless = await TokLIP.load(tiny, { tokenizer: goldenPath("tiny/tiny.json") });
      return wordless.encodeText("a cat").finally(() => wordless.dispose());
    },
  };
  test.each(Object.entries(misuses))("answers misuse with %s", async (code, misuse) => {
    await expect(misuse()).rejects.toMatchObject({ name: "ToklipError", code });
  });

  test("says what a wrong configuration misses", async () => {
    await expect(TokLIP.load(goldenPath("train/teacher.pt"), { config: goldenPath("tiny/tiny.json") })).rejects.toThrow(
      /teacher\.pt is not a tiny: missing visual\.trunk\.vq\.\S+, .* and \d+ more \[CHECKPOINT_MISMATCH\]$/,
    );
  });

  test("opens the training layout, and a teacher without a text tower", async () => {
    const trained = await TokLIP.load(goldenPath("train/tiny_train_epoch_1.pt"), {
      config: goldenPath("tiny/tiny.json"),
    });
    expect((await trained.encodeImage(pixels)).imageFeatures.shape).toEqual([4, 64]);
    await trained.dispose();
    const teacher = await TokLIP.load(goldenPath("train/teacher.pt"), {
      config: goldenPath("model_configs/ViT-tiny-16-SigLIP2-64.json"),
    });
    expect((await teacher.encodePixels(pixels)).imageFeatures.shape).toEqual([4, 64]);
    await expect(teacher.encodeIds(pixels)).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
    await expect(teacher.encodeTextIds(ndarray("i32", [1, 16]))).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
    await teacher.dispose();
  });

  test("runs a bare image tokenizer for ids and pictures", async () => {
    const { vision_cfg, ...rest } = JSON.parse(readFileSync(goldenPath("tiny/tiny.json"), "utf8"));
    const vq = { ch: 32, ch_mult: [1, 1, 1, 1], z_channels: 32, codebook_size: 256, codebook_embed_dim: 8 };
    const trunk = { ...vision_cfg.trunk, patch_size: 8 };
    const config = { ...rest, vision_cfg: { ...vision_cfg, image_size: 32, trunk, vq } };
    const bare = await TokLIP.load(goldenPath("ar/vq8_small.pt"), { config });
    const of = await goldenTensors("ar/vq8_small.safetensors");
    const encoded = await bare.encodeIds((await of("input")) as NDArray<"f32">);
    expect(Array.from(encoded.data)).toEqual(Array.from((await of("codes")).data as Int32Array));
    expect((await bare.decodeIds(encoded)).shape).toEqual([2, 3, 32, 32]);
    await expect(bare.encodeFeatures(encoded)).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
    await bare.dispose();
  });

  test("loads what it converted, by the configuration that the file carries", async () => {
    for (const [name, options] of [
      ["whole", {}],
      ["vq", { filter: ({ name: key }: { name: string }) => key.startsWith("visual.trunk.vq.") }],
    ] as const) {
      const out = join(folder, `${name}.safetensors`);
      await convertFile(tiny, out, { precision: "keep", ...options });
      const converted = await TokLIP.load(out);
      expect(converted.config.name).toBe("tiny");
      expect(Array.from((await converted.encodeIds(pixels)).data)).toEqual(Array.from(codes));
      await converted.dispose();
    }
    const words = join(folder, "text.safetensors");
    await convertFile(tiny, words, { filter: ({ name }) => name.startsWith("text.") });
    const reader = await TokLIP.load(words, {
      tokenizer: goldenPath("tiny/tokenizer.json"),
      config: goldenPath("tiny/tiny.json"),
    });
    expect(maxDifference((await reader.encodeText("a cat")).data, (await model.encodeText("a cat")).data)).toBeLessThan(
      1e-5,
    );
    await expect(reader.encodeIds(pixels)).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
    await reader.dispose();
  });

  test("refuses to work after it was disposed of", async () => {
    const short = await TokLIP.load(tiny);
    await short.dispose();
    await short.dispose();
    await expect(short.encodeIds(pixels)).rejects.toMatchObject({ code: "DISPOSED" });
  });

  test("exports ONNX files that a bare ONNX Runtime runs to the same numbers", async () => {
    const out = join(folder, "onnx");
    const { files } = await exportOnnx(tiny, { out });
    expect(files.map((file) => file.slice(out.length + 1))).toEqual([
      "vq_encoder.onnx",
      "vq_decoder.onnx",
      "token_encoder.onnx",
      "text_encoder.onnx",
      "manifest.json",
    ]);
    const manifest = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8"));
    expect(manifest.graphs.vq_encoder.inputs).toEqual([{ name: "pixels", dtype: "f32", shape: ["B", 3, 64, 64] }]);
    const encoder = await ort.InferenceSession.create(join(out, manifest.graphs.vq_encoder.file));
    const result = await encoder.run({ pixels: new ort.Tensor("float32", pixels.data, pixels.shape as number[]) });
    expect(Array.from(result.ids!.data as Int32Array)).toEqual(Array.from(codes));
  });

  test("runs a random checkpoint made from a seed, the same for the same seed", async () => {
    const [first, second, other] = await Promise.all(
      [1, 1, 2].map(async (seed, i) => {
        const out = join(folder, `init-${i}.safetensors`);
        await initCheckpoint({ config: goldenPath("tiny/tiny.json"), seed, out });
        return readFileSync(out);
      }),
    );
    expect(first!.equals(second!)).toBe(true);
    expect(first!.equals(other!)).toBe(false);
    const made = await TokLIP.load(join(folder, "init-0.safetensors"));
    const { imageFeatures } = await made.encodeImage(pixels);
    expect(imageFeatures.data.every(Number.isFinite)).toBe(true);
    await made.dispose();
  });

  test("loads half precision to nearly the same features", async () => {
    const out = join(folder, "half.safetensors");
    await initCheckpoint({ config: goldenPath("tiny/tiny.json"), seed: 1, out, precision: "fp16" });
    const [half, full] = await Promise.all([TokLIP.load(out), TokLIP.load(join(folder, "init-0.safetensors"))]);
    const [a, b] = [await half.encodeFeatures(ids), await full.encodeFeatures(ids)];
    expect(maxDifference(a.imageFeatures.data, b.imageFeatures.data)).toBeGreaterThan(0);
    expect(cosine(a.imageFeatures.data, b.imageFeatures.data)).toBeGreaterThan(0.9999);
    await Promise.all([half.dispose(), full.dispose()]);
  });
});
