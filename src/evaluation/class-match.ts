/** The classes of a test set among those of a training set: by name. */
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import type { EvaluatedData } from "./evaluation.ts";
import type { FeatureRows } from "./feature-rows.ts";

/** How two data sets' classes belong together. */
export interface ClassMatch {
  /** The training set's number of a test label; -1 where no training picture has the class. */
  readonly classOf: (label: number) => number;
  /** Rows of each that take part. */
  readonly trainRows: number;
  readonly testRows: number;
  /** Test rows whose class has no training picture, and test rows without a class, and the key of the first of each. */
  readonly unknown: { readonly count: number; readonly example: string };
  readonly unlabelled: { readonly count: number; readonly example: string };
}

/**
 * Matches classes. A class counts as known when a training row has it.
 * @throws DATA_INVALID when no test row has a class that is known
 */
export async function matchClasses(
  train: FeatureRows,
  test: FeatureRows,
  options: LongCallOptions = {},
): Promise<ClassMatch> {
  const seen = new Uint32Array(train.classes.length);
  for await (const { labels } of train.blocks(options)) for (const label of labels) if (label >= 0) seen[label]!++;
  const trainRows = seen.reduce((sum, count) => sum + count, 0);
  const numbers = new Map(train.classes.map((name, number) => [name, seen[number]! > 0 ? number : -1]));
  const classes = Int32Array.from(test.classes, (name) => numbers.get(name) ?? -1);
  const classOf = (label: number) => classes[label] ?? -1;
  const left = { unknown: { count: 0, example: "" }, unlabelled: { count: 0, example: "" } };
  let testRows = 0;
  for await (const { labels, keys } of test.blocks(options)) {
    for (const [i, label] of labels.entries()) {
      if (classOf(label) >= 0) testRows++;
      else
        note(label < 0 ? left.unlabelled : left.unknown, label < 0 ? keys[i]! : `${keys[i]}: ${test.classes[label]}`);
    }
  }
  if (testRows === 0) throw noneKnown(train, test);
  return { classOf, trainRows, testRows, ...left };
}

function note(of: { count: number; example: string }, example: string): void {
  if (of.count++ === 0) of.example = example;
}

function noneKnown(train: FeatureRows, test: FeatureRows): ToklipError {
  const some = ({ classes }: FeatureRows) => classes.slice(0, 5).map(quoted).join(", ") || "none";
  const problem = `of the classes of the test pictures (${some(test)}, ...) none has a training picture (${some(train)}, ...)`;
  return new ToklipError("DATA_INVALID", problem);
}

/** The test data with what the match leaves out. */
export function unmatchedData(data: EvaluatedData, { testRows, unknown, unlabelled }: ClassMatch): EvaluatedData {
  const skipped = [
    { reason: "of a class without a training picture", ...unknown },
    { reason: "without a class", ...unlabelled },
  ].filter(({ count }) => count > 0);
  return { ...data, used: testRows, skipped: [...data.skipped, ...skipped] };
}
