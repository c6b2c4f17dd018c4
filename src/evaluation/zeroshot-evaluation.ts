/** A zero-shot evaluation from its data to its record: figures, the table of classes, confusions, examples. */
import { concatRows, type LongCallOptions, type NDArray, rows, ToklipError } from "../core/index.ts";
import type { Dataset } from "../data/index.ts";
import { quoted } from "../files/quoted.ts";
import { resizeImage } from "../image/index.ts";
import { classTable, meanOfClasses, topMetric } from "./class-outcomes.ts";
import { checkClasses, surveyClasses } from "./class-survey.ts";
import { confusionSvg, confusionsOf } from "./confusion-picture.ts";
import type { Evaluation, EvaluationGallery, EvaluationPicture, EvaluationTable, Metric } from "./evaluation.ts";
import type { FeatureRows } from "./feature-rows.ts";
import { classNumbers, type LabelSet } from "./label-set.ts";
import { compileInnerProducts } from "./pair-products.ts";
import type { EvaluationSession, PassedRows } from "./session.ts";
import { spread } from "./spread.ts";
import { encodeClasses, namePictures, type ZeroshotOptions, type ZeroshotOutcomes } from "./zeroshot.ts";

/** What is evaluated. */
export interface ZeroshotEvaluationOptions extends LongCallOptions {
  readonly labels: LabelSet;
  /** Some of the classes, which are also scored apart: only their pictures, named from among them alone. */
  readonly subsets?: readonly LabelSet[];
  readonly templates: readonly string[];
  /** Passes over pictures of classes that are not among the labels. Default false: they are an error. */
  readonly ignoreUnknown?: boolean;
}

/** A label set as part of the whole: for each of its classes the number among all. */
interface Part {
  readonly name: string;
  readonly numbers: readonly number[];
}

/**
 * Names every picture of a data set from the label set, and those of its subsets.
 * @throws DATA_INVALID for classes without a label, and the reverse in subsets; DATA_EMPTY, DATA_TOO_BAD, ABORTED
 */
export async function evaluateZeroshot(
  session: EvaluationSession,
  data: Dataset,
  options: ZeroshotEvaluationOptions,
): Promise<Evaluation> {
  const startedAt = Date.now();
  const { labels, subsets = [], templates, ignoreUnknown = false, signal, onProgress } = options;
  const parts = subsets.map((subset) => partOf(subset, labels));
  const survey = await surveyClasses(data, { signal, onProgress });
  checkClasses(survey, labels, { ignoreUnknown });
  const directions = await encodeClasses(session.texts, labels, { templates, signal, onProgress });
  const classes = labels.classes.map(({ name }) => name);
  const pictures = await session.features(survey.dataset, { classes });
  const products = await compileInnerProducts(session.backend, pictures.width, { signal });
  const how = { products, classes, signal, onProgress };
  const whole = await nameOf(pictures, directions, { name: labels.name, numbers: [...classes.keys()] }, how);
  const metrics = metricsOf(whole, "");
  for (const part of parts) {
    metrics.push(...metricsOf(await nameOf(pictures, directions, part, how), `${part.name}/`));
  }
  return {
    task: "zeroshot",
    model: session.description,
    data: [pictures.data],
    settings: settingsOf(options),
    metrics,
    tables: tablesOf(whole),
    galleries: await galleriesOf(session, survey.dataset, pictures, whole),
    seconds: (Date.now() - startedAt) / 1000,
    picturesPerSecond: pictures.encoded === 0 ? 0 : pictures.encoded / pictures.seconds,
  };
}

/** @throws DATA_INVALID for a class that is not among all */
function partOf(subset: LabelSet, labels: LabelSet): Part {
  const numberOf = classNumbers(labels);
  const numbers = subset.classes.map(({ name }) => {
    const number = numberOf(name);
    if (number !== undefined) return number;
    throw new ToklipError("DATA_INVALID", `${subset.name}: ${quoted(name)} is no label of ${labels.name}`);
  });
  return { name: subset.name, numbers };
}

/** @param directions of all classes, f32 (L, D) */
async function nameOf(
  pictures: PassedRows,
  directions: NDArray<"f32">,
  { numbers }: Part,
  options: Omit<ZeroshotOptions, "classOf">,
): Promise<ZeroshotOutcomes> {
  const places = new Map(numbers.map((number, place) => [number, place]));
  return namePictures(pictures, concatRows(numbers.map((i) => rows(directions, i, i + 1))), {
    ...options,
    classes: numbers.map((number) => options.classes[number]!),
    classOf: (label) => places.get(label) ?? -1,
  });
}

function metricsOf(outcomes: ZeroshotOutcomes, prefix: string): Metric[] {
  const { length } = outcomes.classes;
  const unseen = unseenClasses(outcomes).length;
  const five = length < 5 ? `not given: there are only ${length} classes` : "the right class is among the first five";
  return [
    topMetric(`${prefix}top1`, outcomes, 1, `the right one of ${length} classes comes first`),
    topMetric(`${prefix}top5`, outcomes, 5, five),
    meanOfClasses(`${prefix}mean_per_class`, outcomes),
    {
      name: `${prefix}classes_without_pictures`,
      ...{ value: unseen, unit: "count", count: length },
      meaning: "labels to choose from that no picture shows",
    },
  ];
}

function unseenClasses({ classes, truth }: ZeroshotOutcomes): string[] {
  const seen = new Set(truth);
  return classes.filter((_, number) => !seen.has(number));
}

/** Names that several classes have: of these the first is always chosen. */
function sharedNames({ classes }: LabelSet): number {
  const known = new Set<string>();
  return classes.filter(({ names }) => {
    const key = JSON.stringify(names);
    return known.has(key) || !known.add(key);
  }).length;
}

function settingsOf({ labels, subsets = [], templates, ignoreUnknown = false }: ZeroshotEvaluationOptions) {
  return {
    labels: labels.name,
    classes: labels.classes.length,
    classes_named_as_another: sharedNames(labels),
    subsets: subsets.map(({ name }) => name),
    templates,
    ignore_unknown: ignoreUnknown,
  };
}

/** Confusions that the table lists. */
const LISTED_CONFUSIONS = 50;

function tablesOf(outcomes: ZeroshotOutcomes): EvaluationTable[] {
  const { classes } = outcomes;
  const confused = confusionsOf(outcomes)
    .slice(0, LISTED_CONFUSIONS)
    .map(({ truth, chosen, count, seen }) => [classes[truth]!, classes[chosen]!, count, (100 * count) / seen]);
  const unseen = unseenClasses(outcomes).map((name) => [name]);
  const confusions = ["class", "taken for", "pictures", "of its pictures %"];
  return [
    { title: "Most frequent confusions", columns: confusions, rows: confused },
    classTable("Classes, the worst first", outcomes),
    ...(unseen.length > 0 ? [{ title: "Labels without pictures", columns: ["class"], rows: unseen }] : []),
  ];
}

/** Pictures that the report shows of each kind. */
const SHOWN = { right: 16, wrong: 32 } as const;
/** Pixels of their edge. */
const THUMBNAIL = 128;

async function galleriesOf(
  session: EvaluationSession,
  dataset: Dataset,
  pictures: FeatureRows,
  outcomes: ZeroshotOutcomes,
): Promise<EvaluationGallery[]> {
  const { truth, chosen } = outcomes;
  const numbers = [...truth.keys()];
  const right = spread(
    numbers.filter((i) => truth[i] === chosen[i]),
    SHOWN.right,
  );
  const wrong = spread(
    numbers.filter((i) => truth[i] !== chosen[i]),
    SHOWN.wrong,
  );
  const keys = await keysAt(pictures, new Set([...right, ...wrong]));
  const views = await session.views(dataset, new Set(keys.values()));
  const draw = async (number: number): Promise<EvaluationPicture[]> => {
    const key = keys.get(number)!;
    const view = views.get(key);
    if (view === undefined) return [];
    const small = view.width > THUMBNAIL ? resizeImage(view, { width: THUMBNAIL, height: THUMBNAIL }) : view;
    const verdict = truth[number] === chosen[number] ? "right" : "wrong";
    return [{ png: await session.pictures.encodePng(small), caption: captionOf(outcomes, number, key), verdict }];
  };
  const drawAll = async (some: readonly number[]) => (await Promise.all(some.map(draw))).flat();
  const matrix = await session.pictures.renderSvg(confusionSvg(outcomes));
  return [
    { title: "Named wrongly", pictures: await drawAll(wrong) },
    { title: "Named rightly", pictures: await drawAll(right) },
    { title: "Confusions", pictures: [{ png: matrix, caption: MATRIX_CAPTION }] },
  ];
}

const MATRIX_CAPTION =
  "Rows: what pictures show. Columns: what they were named. Of more than 40 classes, those of the most frequent confusions.";

function captionOf({ classes, truth, chosen, confidence }: ZeroshotOutcomes, number: number, key: string): string {
  const own = classes[truth[number]!]!;
  const other = classes[chosen[number]!]!;
  const share = `(${Math.round(100 * confidence[number]!)} %)`;
  return `${own === other ? own : `${own}, named ${other}`} ${share}\n${key}`;
}

/** The keys of rows by their numbers among those that have a class. */
async function keysAt(rows: FeatureRows, numbers: ReadonlySet<number>): Promise<Map<number, string>> {
  const keys = new Map<number, string>();
  let number = 0;
  for await (const block of rows.blocks()) {
    for (const [i, label] of block.labels.entries()) {
      if (label < 0) continue;
      if (numbers.has(number)) keys.set(number, block.keys[i]!);
      number++;
    }
  }
  return keys;
}
