// Which evaluations there are, and which of their figures are shown. Pure: no process is started here.
import { join } from "node:path";

/** What pictures are called in sentences that the captions of training had too. */
export const TEMPLATES = {
  naming: ["{}", "a picture of {}", "a drawing of {}"],
  category: ["{}"],
};

/**
 * @typedef {object} EvaluationRun
 * @property {string} name
 * @property {"zeroshot" | "retrieval" | "reconstruction" | "linear-probe" | "knn"} task
 * @property {string} data Below the benchmarks' folder.
 * @property {keyof typeof TEMPLATES} [templates]
 * @property {readonly string[]} [parts] Classes that are also scored apart.
 * @property {string} [train] What neighbours or a probe learn from.
 */

const zeroshot = (
  /** @type {string} */ name,
  /** @type {keyof typeof TEMPLATES} */ templates = "naming",
  /** @type {readonly string[]} */ parts = [],
) => /** @type {EvaluationRun} */ ({ name, task: "zeroshot", data: `${name}.csv`, templates, parts });

const reconstruction = (/** @type {string} */ name) =>
  /** @type {EvaluationRun} */ ({ name: `reconstruction-${name}`, task: "reconstruction", data: `pictures/${name}` });

/** @type {readonly EvaluationRun[]} */
export const EVALUATIONS = [
  zeroshot("openmoji-seen", "naming", ["openmoji-animals", "openmoji-food"]),
  zeroshot("openmoji-flags"),
  zeroshot("openmoji-subgroup", "category"),
  zeroshot("unseen-concept-group", "category"),
  zeroshot("unseen-concept-subgroup", "category"),
  zeroshot("unseen-naming"),
  zeroshot("unseen-naming-emoji"),
  zeroshot("photo"),
  zeroshot("photo-kind"),
  zeroshot("fashion-mnist"),
  { name: "retrieval", task: "retrieval", data: "retrieval.jsonl" },
  { name: "linear-probe", task: "linear-probe", data: "probe-test.csv", train: "probe-train.csv" },
  { name: "knn", task: "knn", data: "probe-test.csv", train: "probe-train.csv" },
  ...["openmoji", "test-concept", "photographs", "photograph-crops"].map(reconstruction),
];

/**
 * The arguments of `toklip` for an evaluation.
 * @param {EvaluationRun} run
 * @param {{ model: string, benchmarks: string, out: string, features: string, templates: string, network?: string }} where
 * `templates`: the folder that holds them; `network`: an ONNX file of `feature-network.mjs`, for feature distances
 */
export function argumentsOf(run, { model, benchmarks, out, features, templates, network }) {
  const labels = (/** @type {string} */ name) => join(benchmarks, "labels", `${name}.json`);
  return [
    ...["eval", run.task, ...[run.train, run.data].flatMap((path) => (path ? join(benchmarks, path) : []))],
    ...["--model", model],
    ...(run.task === "zeroshot" ? ["--labels-file", labels(run.name)] : []),
    ...(run.templates ? ["--templates", join(templates, `${run.templates}.txt`)] : []),
    ...(run.parts ?? []).flatMap((part) => ["--subset", labels(part)]),
    ...(run.task === "reconstruction" && network !== undefined
      ? ["--network", network, "--network-mean", "0,0,0", "--network-std", "1,1,1"]
      : []),
    ...["--out", out, "--features", features, "--resume", "--json"],
  ];
}

/** @typedef {{ name: string, value: number | null, unit: string, count: number, margin?: number, interval?: [number, number] }} Metric */
/** @typedef {{ title: string, columns: string[], rows: (string | number | null)[][] }} Table */
/** @typedef {{ run: string, model: string, metrics?: Metric[], tables?: Table[], error?: string }} Result What an evaluation of a model gave, or why nothing. */

/** The figures that a model card shows; those of a part have its name before them. */
const SHOWN =
  /^(?:[\w-]+\/)?(?:top[15](?:_k\d+)?|\w+_to_\w+@\d+|psnr|ssim|ms_ssim|codes_used|code_entropy|frechet_distance)$/;

/** @param {Metric} metric */
function shown({ value, unit }) {
  if (value === null) return "-";
  if (unit === "share") return `${(100 * value).toFixed(1)} %`;
  return `${value.toFixed(unit === "count" ? 0 : unit === "plain" ? 3 : 2)}${unit === "dB" || unit === "bits" ? ` ${unit}` : ""}`;
}

/**
 * A table in Markdown: a row a figure, a column a model.
 * @param {readonly Result[]} results in the order in which they are shown
 */
export function markdownTable(results) {
  const models = [...new Set(results.map(({ model }) => model))];
  /** @type {Map<string, Map<string, Metric>>} */
  const rows = new Map();
  for (const { run, model, metrics = [] } of results) {
    for (const metric of metrics.filter(({ name }) => SHOWN.test(name))) {
      const key = `${run} | ${metric.name}`;
      rows.set(key, (rows.get(key) ?? new Map()).set(model, metric));
    }
  }
  const lines = [...rows].map(([key, byModel]) => {
    const [first] = byModel.values();
    const values = models.map((model) => (byModel.has(model) ? shown(/** @type {Metric} */ (byModel.get(model))) : ""));
    return `| ${key} | ${first?.count ?? ""} | ${values.join(" | ")} |`;
  });
  return [
    `| benchmark | figure | of | ${models.join(" | ")} |`,
    `|---|---|---|${models.map(() => "---|").join("")}`,
    ...lines,
    "",
  ].join("\n");
}
