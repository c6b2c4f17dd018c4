// Zero-shot naming: counts against the reference's, and every kind of label file against every kind of data.
import { afterAll, describe, expect, it } from "vitest";
import { type NDArray, ndarray, type ToklipError } from "../../src/core/index.ts";
import { topMetric } from "../../src/evaluation/class-outcomes.ts";
import { type Confusion, confusionSvg, confusionsOf } from "../../src/evaluation/confusion-picture.ts";
import { evaluateZeroshot, parseLabels, type ZeroshotEvaluationOptions } from "../../src/evaluation/index.ts";
import { encodeClasses, namePictures } from "../../src/evaluation/zeroshot.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { goldenJson, goldenTensors } from "../goldens.ts";
import { type FeatureTable, fakeSession } from "./fake-session.ts";
import { type MemorySample, memoryData } from "./memory-data.ts";
import { memoryRows, plainProducts } from "./memory-rows.ts";

const backend = createOrtBackend({ threads: 1 });
afterAll(() => backend.dispose());

const TABLE: FeatureTable = {
  a1: [9, 1, 0, 0],
  a2: [9, 8, 0, 0],
  a3: [2, 9, 0, 0], // named b
  b1: [0, 3, 0, 0],
  c1: [0, 9, 1, 0], // named b
  d1: [0, 0, 0, 1],
  "a cat": [1, 0, 0, 0],
  "a tom": [1, 0.2, 0, 0],
  "a dog": [0, 1, 0, 0],
  "a fox": [0, 0, 1, 0],
  "a cow": [0, 0, 0, -1],
  "a hen": [-1, -1, -1, 0],
};
const DATA: MemorySample[] = [
  { key: "a1", concept: "cat" },
  { key: "a2", concept: "cat" },
  { key: "a3", concept: "cat" },
  { key: "b1", concept: "dog" },
  { key: "c1", concept: "fox" },
  { key: "broken", concept: "fox" }, // not in the table
];
const LABELS = "cat\tcat,tom\ndog\nfox\ncow\n";

function evaluate(labels: string, options: Partial<ZeroshotEvaluationOptions> = {}, data = DATA) {
  const { pictures, ...session } = fakeSession(TABLE, backend);
  const renderSvg = async (svg: string) => new TextEncoder().encode(svg);
  return evaluateZeroshot({ ...session, pictures: { ...pictures, renderSvg } }, memoryData(data), {
    labels: parseLabels(labels, "labels.txt"),
    templates: ["a {}"],
    ...options,
  });
}

async function refusal(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => "none",
    (thrown: ToklipError) => thrown.message,
  );
}

describe("zero-shot naming", () => {
  it("counts as the reference does", async () => {
    const golden = await goldenTensors("metrics/golden_zeroshot.safetensors");
    const { classes, top1_count, top5_count } = goldenJson("metrics/golden_zeroshot.json") as Record<string, unknown>;
    const names = classes as string[];
    const classifier = (await golden("classifier")).data as Float32Array; // (D, L)
    const directions = ndarray("f32", [names.length, 64]);
    for (let i = 0; i < classifier.length; i++) {
      directions.data[i] = classifier[(i % 64) * names.length + Math.floor(i / 64)]!;
    }
    const images = (await golden("image_features_norm")) as NDArray<"f32">;
    const target = Array.from((await golden("target")).data as Int32Array, Number);
    const rows = Array.from({ length: target.length }, (_, i) => [...images.data.subarray(i * 64, i * 64 + 64)]);
    const options = { products: plainProducts, classes: names, classOf: (label: number) => label };
    const outcomes = await namePictures(memoryRows(rows, { labels: target, classes: names }), directions, options);
    expect(topMetric("top1", outcomes, 1, "").value).toBe(Number(top1_count) / 4);
    expect(topMetric("top5", outcomes, 5, "").value).toBe(Number(top5_count) / 4);
    const probabilities = (await golden("probs")).data as Float32Array;
    for (const [i, chosen] of outcomes.chosen.entries()) {
      expect(outcomes.confidence[i]).toBeCloseTo(probabilities[i * names.length + chosen]!, 4);
    }
  });

  it("averages the unit features of all names and templates of a class", async () => {
    const labels = parseLabels("cat\tcat,tom\ndog", "labels");
    const session = fakeSession(TABLE, backend);
    const { data } = await encodeClasses(session.texts, labels, { templates: ["a {}"] });
    const tom = Math.hypot(1, 0.2);
    const mean = [1 + 1 / tom, 0.2 / tom];
    const length = Math.hypot(...mean);
    expect([...data.slice(0, 2)].map((value) => value.toFixed(6))).toEqual(
      mean.map((value) => (value / length).toFixed(6)),
    );
    expect([...data.slice(4)]).toEqual([0, 1, 0, 0]);
  });

  it("gives shares, the mean over classes that have pictures, and what was left out", async () => {
    const { metrics, data, tables, galleries, settings } = await evaluate(LABELS);
    expect(Object.fromEntries(metrics.map(({ name, value, count }) => [name, [value, count]]))).toEqual({
      top1: [3 / 5, 5],
      top5: [null, 5],
      mean_per_class: [(2 / 3 + 1 + 0) / 3, 3],
      classes_without_pictures: [1, 4],
    });
    expect(metrics[1]!.meaning).toBe("not given: there are only 4 classes");
    expect(data).toEqual([
      { name: "memory", used: 5, skipped: [{ reason: "undecodable", count: 1, example: "broken" }] },
    ]);
    expect(tables[0]!.rows).toEqual([
      ["cat", "dog", 1, 100 / 3],
      ["fox", "dog", 1, 100],
    ]);
    expect(tables.at(-1)).toEqual({ title: "Labels without pictures", columns: ["class"], rows: [["cow"]] });
    expect(settings).toMatchObject({
      labels: "labels.txt",
      classes: 4,
      templates: ["a {}"],
      classes_named_as_another: 0,
    });
    const [wrong, right, confusions] = galleries;
    expect(wrong!.pictures.map(({ caption, verdict }) => [caption.replace(/\d+ %/, "_"), verdict])).toEqual([
      ["cat, named dog (_)\na3", "wrong"],
      ["fox, named dog (_)\nc1", "wrong"],
    ]);
    expect(right!.pictures.map(({ caption }) => caption.split("\n")[1])).toEqual(["a1", "a2", "b1"]);
    expect(new TextDecoder().decode(confusions!.pictures[0]!.png)).toContain("<svg");
  });

  it("gives top-5 from five classes on", async () => {
    const { metrics } = await evaluate(`${LABELS}hen\n`);
    expect(metrics.find(({ name }) => name === "top5")!.value).toBe(1);
  });

  it("scores subsets apart: their pictures, named from among them alone", async () => {
    const subset = { ...parseLabels("fox\ncat", "animals.txt"), name: "animals" };
    const { metrics } = await evaluate(LABELS, { subsets: [subset] });
    const animals = metrics.filter(({ name }) => name.startsWith("animals/"));
    expect(animals.map(({ name, value, count }) => [name, value, count])).toEqual([
      ["animals/top1", 1, 4], // without dogs, nothing is taken for one
      ["animals/top5", null, 4],
      ["animals/mean_per_class", 1, 2],
      ["animals/classes_without_pictures", 0, 2],
    ]);
    const stranger = { ...parseLabels("cat\neel", "animals.txt") };
    expect(await refusal(evaluate(LABELS, { subsets: [stranger] }))).toContain('"eel" is no label of labels.txt');
  });

  it("names the classes that have no label, or passes over their pictures where that is asked for", async () => {
    expect(await refusal(evaluate("cat\ndog"))).toContain('memory: 1 class is not in labels.txt: "fox"');
    expect(await refusal(evaluate("cat\ndogs\nfox"))).toContain('"dog"; did you mean "dogs"?');
    expect(await refusal(evaluate("eel\nowl"))).toContain("none of its 3 classes is in labels.txt");
    expect(await refusal(evaluate("eel\nowl", { ignoreUnknown: true }))).toContain("none of its 3 classes");
    expect(await refusal(evaluate(LABELS, {}, [{ key: "a1" }]))).toContain("no sample has a class");
    const { metrics } = await evaluate("cat\ndog", { ignoreUnknown: true });
    expect(metrics[0]).toMatchObject({ name: "top1", value: 3 / 4, count: 4 });
  });

  it("refuses a model whose features are no numbers: every comparison with them is false", async () => {
    const rows = memoryRows([[Number.NaN, 0]], { labels: [0], classes: ["a"] });
    const options = { products: plainProducts, classes: ["a"], classOf: () => 0 };
    expect(await refusal(namePictures(rows, ndarray("f32", [1, 2]), options))).toContain("[DATA_INVALID]");
  });
});

describe("confusions", () => {
  const outcomes = (pairs: readonly (readonly [number, number])[], size: number) => ({
    classes: Array.from({ length: size }, (_, i) => `<class ${i}>`),
    truth: Int32Array.from(pairs, ([truth]) => truth),
    chosen: Int32Array.from(pairs, ([, chosen]) => chosen),
    place: Int32Array.from(pairs, ([truth, chosen]) => (truth === chosen ? 0 : 1)),
  });

  it("come the most frequent first, with the pictures of their class", () => {
    const pairs = [
      [0, 1],
      [0, 1],
      [0, 0],
      [2, 1],
      [1, 0],
    ] as const;
    expect(confusionsOf(outcomes(pairs, 3))).toEqual<Confusion[]>([
      { truth: 0, chosen: 1, count: 2, seen: 3 },
      { truth: 1, chosen: 0, count: 1, seen: 1 },
      { truth: 2, chosen: 1, count: 1, seen: 1 },
    ]);
  });

  it("are drawn for all of few classes, and for those confused most of many", () => {
    const few = confusionSvg(outcomes([[0, 1]], 3));
    expect(few.match(/<rect /g)).toHaveLength(1 + 9);
    expect(few).toContain("&lt;class 2&gt;");
    expect(few).not.toContain("<class");
    expect(few).toContain('fill="rgb(190,30,45)"');
    const many = confusionSvg(
      outcomes(
        [
          [7, 300],
          [900, 7],
        ],
        1470,
      ),
    );
    expect(many.match(/<rect /g)).toHaveLength(1 + 9);
    expect(many).toContain("&lt;class 900&gt;");
    expect(confusionSvg(outcomes([[5, 5]], 1000))).toContain("<svg");
  });
});
