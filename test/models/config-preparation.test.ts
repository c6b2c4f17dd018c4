// What a configuration says of the pictures and labels that its model wants.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/models/index.ts";

const file = new URL("../goldens/model_configs/ViT-tiny-16-SigLIP2-64-toklip.json", import.meta.url);
const bare = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
const siglip = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], interpolation: "bicubic", resize_mode: "squash" };

describe("a configuration", () => {
  test("prepares pictures as the reference does, and labels in one sentence, where it says nothing", () => {
    const { preprocess, templates } = parseConfig(bare);
    expect(preprocess).toEqual({ resize: "shortest", background: [255, 255, 255] });
    expect(templates).toBe("simple");
  });

  test("says it in open_clip's words, in the model's object or beside it", () => {
    const beside = { preprocess_cfg: siglip, zeroshot_cfg: { templates: ["{}", "an icon of {}"] } };
    for (const json of [
      { ...bare, ...beside },
      { model_cfg: bare, ...beside },
    ]) {
      const { preprocess, templates, source, trunk } = parseConfig(json);
      expect(preprocess.resize).toBe("squash");
      expect(templates).toEqual(["{}", "an icon of {}"]);
      expect(trunk).toEqual(parseConfig(bare).trunk);
      // What is written back means the same.
      expect(parseConfig(source).preprocess).toEqual(preprocess);
      expect(parseConfig(source).templates).toEqual(templates);
    }
  });

  test.each([
    ["drop", "drop"] as const,
    [
      [0, 128, 255],
      [0, 128, 255],
    ] as const,
    ["white", [255, 255, 255]] as const,
  ])("lays transparent pictures over %j", (background, expected) => {
    expect(parseConfig({ ...bare, preprocess_cfg: { background } }).preprocess.background).toEqual(expected);
  });

  test.each([
    ["preprocess_cfg.mean.0", { preprocess_cfg: { ...siglip, mean: [0.48, 0.46, 0.41] } }],
    ["preprocess_cfg.interpolation", { preprocess_cfg: { interpolation: "bilinear" } }],
    ["preprocess_cfg.resize_mode", { preprocess_cfg: { resize_mode: "longest" } }],
    ["preprocess_cfg.background.2", { preprocess_cfg: { background: [0, 0, 256] } }],
    ["zeroshot_cfg.templates", { zeroshot_cfg: { templates: [] } }],
  ])("is refused for a wrong %s", (path, part) => {
    expect(() => parseConfig({ ...bare, ...part }, "c")).toThrow(
      expect.objectContaining({ code: "CONFIG_INVALID", message: expect.stringContaining(`c: ${path}: `) }),
    );
  });

  test.each([[{ model_cfg: "x" }], [{ model_cfg: null }], [{ model_cfg: [1] }]])(
    "is refused when %j holds none",
    (json) => {
      expect(() => parseConfig(json)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
    },
  );
});
