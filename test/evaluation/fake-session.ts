// A workplace whose model is a table of features: pictures and texts by name.
import { ndarray, ToklipError } from "../../src/core/index.ts";
import type { Dataset } from "../../src/data/index.ts";
import type { EvaluationSession, FeatureBlock, FeatureOptions, PassedRows } from "../../src/evaluation/index.ts";
import type { Backend } from "../../src/runtime/index.ts";

const WIDTH = 4;

/** Features of pictures and texts by name; pictures without any cannot be decoded. */
export type FeatureTable = Readonly<Record<string, readonly number[]>>;

/** Makes a session over a table; PNG files are the text "png". */
export function fakeSession(table: FeatureTable, backend: Backend): EvaluationSession {
  const encodeText: EvaluationSession["texts"]["encodeText"] = async (texts) => {
    const list = typeof texts === "string" ? [texts] : texts;
    return ndarray("f32", [list.length, WIDTH], Float32Array.from(list.flatMap((text) => table[text]!)));
  };
  const unused = () => {
    throw new ToklipError("INTERNAL", "not in this test");
  };
  return {
    model: undefined as never,
    texts: { encodeText },
    backend,
    description: { name: "table", description: "features from a table" },
    settings: {},
    pictures: { encodePng: async () => new TextEncoder().encode("png"), renderSvg: unused },
    openData: unused,
    features: (dataset, options) => featuresOf(dataset, table, options),
    views: async (_, keys) =>
      new Map([...keys].map((key) => [key, { width: 1, height: 1, mode: "rgb", data: new Uint8Array(3) } as never])),
    close: async () => {},
  };
}

async function featuresOf(dataset: Dataset, table: FeatureTable, options: FeatureOptions = {}): Promise<PassedRows> {
  const labelOf = options.labelOf ?? (({ concept, captions }) => concept ?? captions[0]);
  const rows: { key: string; label: string | undefined; features: readonly number[] }[] = [];
  const lost: string[] = [];
  for await (const { sample } of dataset.read({ seed: 0, shuffle: false, epochs: 1 })) {
    const features = table[sample!.key];
    if (features === undefined) lost.push(sample!.key);
    else rows.push({ key: sample!.key, label: labelOf(sample!), features });
  }
  const names = rows.flatMap(({ label }) => (label === undefined ? [] : [label]));
  const classes = options.classes ?? [...new Set(names)].sort();
  const block: FeatureBlock = {
    features: Float32Array.from(rows.flatMap(({ features }) => features)),
    keys: rows.map(({ key }) => key),
    labels: Int32Array.from(rows, ({ label }) => (label === undefined ? -1 : classes.indexOf(label))),
  };
  return {
    size: rows.length,
    width: WIDTH,
    classes,
    data: {
      name: dataset.name,
      used: rows.length,
      skipped: lost.length === 0 ? [] : [{ reason: "undecodable", count: lost.length, example: lost[0]! }],
    },
    seconds: 2,
    encoded: rows.length,
    async *blocks() {
      yield block;
    },
  };
}
